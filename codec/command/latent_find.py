"""The words of `lat latent` that look for something: anomaly, similar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codec import container, kinds, loaded
from codec.command.parts import LatCommand, parse_output, say, together
from codec.command.pixels import model_option, open_picture, overwrite_option, write_picture
from codec.config import LATENT
from codec.errors import LatError
from codec.runs import files, plan

if TYPE_CHECKING:
    pass


def command(*options):
    """A command with these options."""
    return lambda function: click.command(cls=LatCommand)(together(*options)(function))


def pictures_in(folder: Path, suffixes: set[str]) -> list[Path]:
    """Raises: LatError where there are none."""
    found = list(plan.find([str(folder)], True, suffixes).files)
    if not found:
        raise LatError(f"{folder}: no pictures")
    return found


@command(
    click.argument("source", metavar="IMAGE"),
    click.option(
        "--reference", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of normal pictures."
    ),
    click.option("--false-alarms", type=click.FloatRange(0, 1), default=0.05, show_default=True),
    click.option("-o", "--output", callback=parse_output, help="Heat map over the picture."),
    click.option("--error", is_flag=True, help="Squared error after coding at low quality, instead of surprise."),
    click.option("--json", "as_json", is_flag=True, help="Score, threshold and the map as JSON."),
    model_option,
    overwrite_option,
)
def anomaly(source, reference, false_alarms, error, output, as_json, model, overwrite) -> None:
    """Where a picture is not what one would expect: of itself, or beside normal pictures.

    Exit code 0 whatever is found.
    """
    import numpy as np

    from codec.latent import anomaly as anomalies
    from codec.latent.surface import Surface

    codec = loaded.codec(model)
    if error and reference:
        raise click.UsageError("--error looks at the picture alone: no --reference")
    image, limit, cell = open_picture(files.read_bytes(source), source), None, LATENT
    if error:
        values = anomalies.reconstruction_error(codec, image)
    elif reference:
        names = [str(path) for path in pictures_in(reference, kinds.picture_suffixes())]
        shots = [open_picture(files.read_bytes(name), name) for name in names]
        same = len({shot.pixels.shape[:2] for shot in shots}) == 1
        kind: type[anomalies.Reference] = anomalies.Scene if same else Surface
        normal = [kind.measure(codec, shot) for shot in shots]
        values, cell = kind(normal).distance(kind.measure(codec, image)), kind.cell
        limit = anomalies.threshold(kind, normal, false_alarms)
    else:
        values = anomalies.features(codec, image).surprise
    score = anomalies.score(values)
    if output:
        low = float(np.median(values))
        high = max(limit or 0.0, score)
        write_picture(anomalies.overlay(image, values, low, high, cell), output, overwrite)
    at = np.unravel_index(int(values.argmax()), values.shape)
    fields = {
        "file": source,
        "measure": "distance" if reference else "error" if error else "surprise",
        "score": round(score, 4),
        "threshold": None if limit is None else round(limit, 4),
        "anomalous": None if limit is None else score > limit,
        "highest_at": [int(at[1]) * cell + cell // 2, int(at[0]) * cell + cell // 2],
        "cell": cell,
    }
    if as_json:
        say(json.dumps(fields | {"map": np.round(values.astype(float), 4).tolist()}))
        return
    verdict = "" if limit is None else f", threshold {limit:.3f}: {'anomalous' if score > limit else 'normal'}"
    say(f"{source}: {fields['measure']} {score:.3f}{verdict}; highest at pixel {fields['highest_at']}")


@command(
    click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    click.argument("image", metavar="[IMAGE]", required=False),
    click.option("-n", "--count", type=click.IntRange(1), default=10, show_default=True, help="How many to list."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
    model_option,
)
def similar(folder, image, count, as_json, model) -> None:
    """The .lat files of DIR nearest to IMAGE; without IMAGE, all pairs that are duplicates."""
    import numpy as np

    from codec.latent import similar as similarity

    paths, vectors = [], []
    for path in pictures_in(folder, {".lat"}):
        try:
            data = files.read_bytes(str(path))
            codec = loaded.codec_for(container.parse(data).header.model)
            vectors.append(similarity.descriptor(codec, data))
            paths.append(str(path))
        except LatError as error:
            say(f"lat: {path}: {error}", err=True)
    if not paths:
        raise LatError(f"{folder}: no readable .lat files")

    def show(value: float, *names: str) -> None:
        duplicate = bool(value >= similarity.DUPLICATE)
        if as_json:
            say(json.dumps({"files": names, "similarity": round(float(value), 4), "duplicate": duplicate}))
        else:
            say(f"{value:.4f}  {'duplicate' if duplicate else '         '}  {'  '.join(names)}")

    stack = np.stack(vectors)
    if image is None:
        for i, vector in enumerate(stack):
            for j in np.flatnonzero(stack[i + 1 :] @ vector >= similarity.DUPLICATE) + i + 1:
                show(stack[j] @ vector, paths[i], paths[j])
        return
    data = files.read_bytes(image)
    if data[:8] != container.MAGIC:
        data = loaded.codec(model).encode(open_picture(data, image))
    codec = loaded.codec_for(container.parse(data).header.model)
    order, values = similarity.nearest(similarity.descriptor(codec, data), stack)
    for i, value in list(zip(order, values))[:count]:
        show(value, paths[i])
