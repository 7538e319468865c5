"""The panel: judges of decoded pictures that nobody here wrote, each by its own package.

PSNR and SSIMULACRA 2 are the bench's own; MS-SSIM is pytorch-msssim's; VIF, IW-SSIM, HaarPSI, FSIM, GMSD and MDSI are
piq's. ColorVideoVDP (PyPI: cvvdp) looks at a standard_4k display and judges in just objectionable differences.
Butteraugli is the 3-norm of libjxl's `butteraugli_main` (Debian: libjxl-devtools). Similarities s near 1 are given as
-10 log10(1 - s) and differences d near 0 as -20 log10(d), in dB, so that means and curves see them alike.

`pip install -e '.[bench,judges]'` brings them; cvvdp and piq ask for a torchvision that fits torch: beside a build of
torch for CPUs, `pip install --no-deps cvvdp piq torchvision` and what they then miss (tqdm, huggingface-hub).
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from codec.bench.compressai import complete_torchvision
from codec.bench.metrics import ms_ssim, psnr, ssimulacra2

from . import look
from .look import batch

Measure = Callable[[np.ndarray, np.ndarray], float]  # original, decoded: uint8 (H, W, 3)
SMALLEST = 176  # pixels a side: MS-SSIM and IW-SSIM halve a picture four times
NEAREST = 1e-10  # what a difference counts as where there is none


@dataclass(frozen=True)
class Judge:
    """How a judge is called, made and read."""

    label: str
    make: Callable[[], tuple[Measure, str]]  # with the version of what measures; raises ImportError
    less_is_better: bool = False
    logarithmic: bool = False  # curves are drawn over its logarithm

    def quality(self, value: float) -> float:
        """What rises as pictures get better."""
        value = float(np.log(max(value, NEAREST))) if self.logarithmic else value
        return -value if self.less_is_better else value


def decibels(similarity: float) -> float:
    return -10 * float(np.log10(max(1 - similarity, NEAREST)))


def own(metric: Callable[[np.ndarray, np.ndarray], float | None]) -> tuple[Measure, str]:
    """One of the bench's metrics, which has None for pictures below SMALLEST alone."""
    return lambda original, decoded: float(metric(original, decoded) or 0.0), "codec.bench.metrics"


def structural() -> tuple[Measure, str]:
    package = "pytorch-msssim"
    return lambda original, decoded: decibels(ms_ssim(original, decoded) or 0.0), f"{package} {version(package)}"


def of_piq(name: str, scale: Callable[[float], float]) -> tuple[Measure, str]:
    """A similarity of piq by its function's name. Raises: ImportError."""
    complete_torchvision()
    import piq

    function = getattr(piq, name)

    @torch.inference_mode()
    def measure(original: np.ndarray, decoded: np.ndarray) -> float:
        return scale(float(function(batch(decoded), batch(original), data_range=1.0)))

    return measure, f"piq {version('piq')}"


def of_difference(difference: float) -> float:
    return 2 * decibels(1 - difference)


def butteraugli() -> tuple[Measure, str]:
    """Raises: ImportError."""
    tool = shutil.which("butteraugli_main")
    if tool is None:
        raise ImportError("butteraugli_main is not installed (libjxl-devtools)")

    def measure(original: np.ndarray, decoded: np.ndarray) -> float:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.png") for i in range(2)]
            for path, pixels in zip(paths, (original, decoded)):
                Image.fromarray(pixels).save(path, compress_level=1)
            out = subprocess.run([tool, *paths], check=True, capture_output=True, text=True).stdout
        return float(re.findall(r"^3-norm: ([\d.]+)$", out, re.MULTILINE)[0])

    return measure, "butteraugli_main of libjxl"


def cvvdp() -> tuple[Measure, str]:
    """Raises: ImportError."""
    complete_torchvision()
    os.environ["HF_HUB_OFFLINE"] = "1"  # it imports a client of a model server, and needs no model
    import pycvvdp

    metric = pycvvdp.cvvdp(display_name="standard_4k", device=torch.device("cpu"))

    def measure(original: np.ndarray, decoded: np.ndarray) -> float:
        return float(metric.predict(decoded, original, dim_order="HWC")[0])

    return measure, f"cvvdp {version('cvvdp')}, standard_4k"


def similarity(name: str) -> Callable[[], tuple[Measure, str]]:
    return functools.partial(of_piq, name, decibels)


def difference(name: str) -> Callable[[], tuple[Measure, str]]:
    return functools.partial(of_piq, name, of_difference)


JUDGES = {
    "psnr": Judge("PSNR", lambda: own(psnr)),
    "ssimulacra2": Judge("SSIMULACRA 2", lambda: own(ssimulacra2)),
    "ms_ssim": Judge("MS-SSIM", structural),
    "butteraugli": Judge("Butteraugli, 3-norm", butteraugli, less_is_better=True),
    "cvvdp": Judge("ColorVideoVDP", cvvdp),
    "vif": Judge("VIF", functools.partial(of_piq, "vif_p", float)),
    "iw_ssim": Judge("IW-SSIM", similarity("information_weighted_ssim")),
    "haarpsi": Judge("HaarPSI", similarity("haarpsi")),
    "fsim": Judge("FSIM", similarity("fsim")),
    "gmsd": Judge("GMSD", difference("gmsd")),
    "mdsi": Judge("MDSI", difference("mdsi")),
}
LOOK = {  # beside the panel: none of them counts for its median
    "wd_lite2": Judge("WD, EfficientNet-Lite2", look.learned, less_is_better=True, logarithmic=True),
    "wd_hand": Judge("WD, filters", look.hand_made, less_is_better=True, logarithmic=True),
    "contrast": Judge("fine contrast kept", look.contrast_kept),
}
TRAINED_ON = {"eye": ["ssimulacra2"], "psnr": ["psnr"], "ms-ssim": ["ms_ssim"]}  # by what weights are tuned for


def trained_on(card: dict) -> list[str]:
    """Which judges weights were trained on: what their card lists as `trained_on`, else what they are tuned for."""
    return card.get("trained_on") or TRAINED_ON[card.get("tune", "psnr")]
