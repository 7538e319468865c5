"""What `lat edit` makes up, in PSNR against what is there, and whether a grid of 16 pixels shows in it.

python -m bench retouch --data KODAK --out bench/results/fill.json
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from codec import edit
from codec.bench.metrics import psnr
from codec.config import LATENT

from .latents import out_option, photos_option, pictures, store

HOLES = (16, 32)  # pixels a side


def fillings(photo: np.ndarray, x: int, y: int, side: int) -> dict[str, np.ndarray]:
    """(side, side, 3) by method: what each makes up in a hole with its top left corner at (x, y)."""
    import cv2  # a baseline's package: nothing else here needs it

    inside = (slice(y, y + side), slice(x, x + side))
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[inside] = 255
    around = (slice(y - 8, y + side + 8), slice(x - 8, x + side + 8))
    border = photo[around][mask[around] == 0].mean(0)
    window = (slice(max(y - 160, 0), y + 160), slice(max(x - 160, 0), x + 160))
    found = {
        "lat": np.asarray(edit.fill(photo, (x, y, x + side, y + side)))[inside],
        "mean of the surroundings": np.broadcast_to(border, (side, side, 3)),
    }
    for name, method in (("OpenCV Telea", cv2.INPAINT_TELEA), ("OpenCV Navier-Stokes", cv2.INPAINT_NS)):
        whole = photo.copy()
        whole[window] = cv2.inpaint(np.ascontiguousarray(photo[window]), mask[window], 5, method)
        found[name] = whole[inside]
    return found


def grids(originals: list[np.ndarray]) -> dict[str, float]:
    """Squared differences of neighbours across the lines of the 16-pixel grid, over those beside; 1: no grid.

    Of what was made up beyond the borders, and of a part of the next picture pasted into each.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for photo, other in zip(originals, originals[1:] + originals[:1]):
        part, patch = photo[128:320, 256:512], other[100:200, 100:250]
        beyond = np.zeros((256, 320), bool)
        beyond[:31, 48:-48] = beyond[-31:, 48:-48] = True  # at the sides the border's distance would count
        found.setdefault("photographs as they are", []).append(across(part, np.ones(part.shape[:2], bool)))
        found.setdefault("outpaint", []).append(across(np.asarray(edit.outpaint(part, 32)), beyond))
        pasted = np.asarray(edit.paste(part, patch, (40, 40)))
        box = np.zeros(part.shape[:2], bool)
        box[32:148, 32:198] = True
        found.setdefault("paste", []).append(across(pasted, box))
    return {kind: sum(on for on, _ in pairs) / sum(off for _, off in pairs) for kind, pairs in found.items()}


def across(pixels: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """Mean squared difference of left and right neighbours, both `where` is true: on grid lines, and 2 to 3 beside."""
    squares = (np.diff(pixels.astype(float), axis=1) ** 2).mean(2)
    both = where[:, 1:] & where[:, :-1]
    place = np.arange(1, pixels.shape[1]) % LATENT
    line, beside = (np.isin(place, at)[None] & both for at in ([0], [2, 3, LATENT - 3, LATENT - 2]))
    return float(squares[line].mean()), float(squares[beside].mean())


@click.command()
@photos_option
@click.option("--count", default=24, show_default=True)
@click.option("--holes", default=8, show_default=True, help="In each photograph, of each size.")
@out_option
def main(photos: tuple[Path, ...], count: int, holes: int, out: Path) -> None:
    """PSNR inside holes on the latent grid, against the mean of their surroundings and OpenCV's two methods."""
    import cv2

    errors: dict[int, dict[str, list]] = {side: {} for side in HOLES}
    originals = pictures(photos, count)
    for i, photo in enumerate(originals):
        random = np.random.default_rng(i)
        for side in HOLES:
            for _ in range(holes):
                x, y = (LATENT * int(random.integers(3, n // LATENT - 3 - side // LATENT)) for n in photo.shape[1::-1])
                inside = photo[y : y + side, x : x + side]
                for name, pixels in fillings(photo, x, y, side).items():
                    errors[side].setdefault(name, []).append(psnr(inside, pixels))
    result: dict = {"photographs": count, "holes_each": holes, "opencv": cv2.__version__}
    result["grid"] = {kind: round(mean, 3) for kind, mean in grids(originals).items()}
    result["mean_psnr_in_hole"] = {s: {k: round(float(np.mean(v)), 3) for k, v in t.items()} for s, t in errors.items()}
    store(result, out)


if __name__ == "__main__":
    main()
