"""Effort makes smaller files of the same kind."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from codec import Codec
from codec.command.cli import main
from codec.distortion import DISTORTIONS
from codec.latent.latents import Latents
from codec.settings import STEPS
from codec.ssimulacra2 import score
from codec.target import to_size
from tests.conftest import psnr


@pytest.fixture(scope="module")
def part(photo) -> np.ndarray:
    return np.asarray(photo.crop((300, 100, 500, 260)))


def cost(codec: Codec, pixels: np.ndarray, data: bytes, quality: float) -> float:
    """Bits + λ · squared error of a file: what effort is to lower."""
    error = np.asarray(codec.decode(data)).astype(float) - pixels
    return 8 * len(data) + float(codec.model.lambdas[codec.cfg.row(quality)]) / 3 * float((error**2).sum())


def test_effort_pays(codec, part):
    costs = np.array(
        [[cost(codec, part, codec.encode(part, q, effort=e, tune="psnr"), q) for e in (3, 5, 7)] for q in (15, 50, 85)]
    )
    assert (np.diff(costs) < 0).all()
    assert (costs[:, 1] / costs[:, 0]).mean() < 0.98


def test_tuned_for_ms_ssim(codec, photo):
    """A smaller file that MS-SSIM likes better than a file of one pass of that size."""
    ms_ssim = pytest.importorskip("pytorch_msssim").ms_ssim
    pixels = np.asarray(photo.crop((300, 100, 500, 290)))

    def measured(data: bytes) -> float:
        pair = [torch.tensor(np.asarray(x)).permute(2, 0, 1)[None].float() for x in (codec.decode(data), pixels)]
        return float(ms_ssim(*pair, data_range=255))

    tuned = codec.encode(pixels, 50, effort=5, tune="ms-ssim")
    plain = to_size(codec, pixels, len(tuned)).data
    assert len(plain) > 0.97 * len(tuned)
    assert measured(tuned) > measured(plain)
    assert len(tuned) < len(codec.encode(pixels, 50))


def test_tuned_for_the_eye(codec, photo):
    """A smaller file that SSIMULACRA 2 likes better than a file of one pass of that size."""
    pixels = np.asarray(photo.crop((300, 100, 500, 290)))

    def measured(data: bytes) -> float:
        pair = [torch.tensor(np.asarray(x)).permute(2, 0, 1)[None] / 255 for x in (codec.decode(data), pixels)]
        return float(score(*pair))

    tuned = codec.encode(pixels, 50, effort=5, tune="eye")
    plain = to_size(codec, pixels, len(tuned)).data
    assert len(plain) > 0.97 * len(tuned)
    assert measured(tuned) > measured(plain)
    assert len(tuned) < len(codec.encode(pixels, 50))


@pytest.mark.parametrize("tune", DISTORTIONS)
def test_residuals_follow_what_they_stand_for(photo, tune):
    """Where errors are small, D is their squared sum: exactly, or to a third for the eye."""
    x = torch.tensor(np.asarray(photo.crop((300, 100, 500, 290)))).permute(2, 0, 1)[None].float()
    distortion = DISTORTIONS[tune](x, 0.01)
    x_hat = x + 2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    form = sum(float(r.square().sum()) for r in distortion.residuals(x_hat))
    assert form == pytest.approx(float(distortion.bits(x_hat)), rel=0.33 if tune == "eye" else 1e-6)
    assert float(distortion.bits(x)) == 0


def test_progress_counts_steps(codec, crop):
    seen = []
    codec.encode(crop, 40, lambda done, count: seen.append((done, count)), effort=4)
    assert seen == [(i + 1, STEPS[4] + 1) for i in range(STEPS[4] + 1)]


def test_efforts_and_metrics_there_are_not(codec, crop):
    for wrong in ({"effort": 10}, {"tune": "beauty"}):
        with pytest.raises(ValueError, match="must be"):
            codec.encode(crop, **wrong)


def test_low_efforts_are_one_pass(codec, crop):
    files = [codec.encode(crop, 40, effort=e) for e in (1, 2, 3)]
    assert files[0] == files[1] == files[2] == codec.encode(crop, 40)


@pytest.mark.parametrize(
    "mode",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference", "autocast"],
)
def test_what_a_caller_does_to_torch_does_not_reach_in(codec, crop, mode):
    for effort in (3, 4):
        data = codec.encode(crop, 40, effort=effort)
        pixels = np.asarray(codec.decode(data))
        with mode():
            assert codec.encode(crop, 40, effort=effort) == data
            assert (np.asarray(codec.decode(data)) == pixels).all()


def test_any_size_tiles_grey_and_alpha(codec, photo):
    for image in (
        photo.crop((0, 0, 37, 21)),
        photo.crop((0, 0, 1, 1)),
        photo.convert("L").crop((0, 0, 70, 50)),
        photo.convert("RGBA").crop((0, 0, 70, 50)),
        photo.resize((1060, 40)),  # two tiles
    ):
        for tune in ("psnr", "eye"):
            decoded = codec.decode(codec.encode(image, 30, effort=4, tune=tune))
            assert (decoded.size, decoded.mode) == (image.size, image.mode)
            assert psnr(np.asarray(decoded), np.asarray(image)) > 20


def test_refined_latents_are_latents(codec, crop):
    data = codec.encode(crop, 40, effort=5)
    latents = Latents.from_file(codec, data)
    assert latents.to_file(codec) == data


def test_the_command_takes_effort(tmp_path, photo):
    source = tmp_path / "a.png"
    photo.crop((0, 0, 200, 150)).save(source)
    for e in (3, 6):
        done = CliRunner().invoke(main, ["compress", str(source), "-e", str(e), "-o", str(tmp_path / f"{e}.lat")])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "6.lat").stat().st_size != (tmp_path / "3.lat").stat().st_size
    assert CliRunner().invoke(main, ["compress", str(source), "-e", "10"]).exit_code == 2
    assert "effort" in CliRunner().invoke(main, ["compress", str(source), "--tune", "ms-ssim"]).output
