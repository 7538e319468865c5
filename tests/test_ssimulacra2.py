"""The score is the reference's, and its weighted sum can be trained on."""

import numpy as np
import pytest
import torch

from codec.ssimulacra2 import BLOCK, RADIUS, TAPS, WEIGHTS, blur, score, weighted_sum


def pictures(*arrays) -> list[torch.Tensor]:
    return [torch.tensor(a, dtype=torch.float64).permute(2, 0, 1)[None] / 255 for a in arrays]


def grey(size: int, value: int = 128) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def noise(size: int, seed: int) -> np.ndarray:
    """Knuth's linear congruential generator, as the published scores were taken with."""
    state, values = seed, []
    for _ in range(size * size * 3):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(state >> 33 & 255)
    return np.array(values, np.uint8).reshape(size, size, 3)


def gradient(size: int) -> np.ndarray:
    return np.tile((np.arange(size) * 255 // (size - 1)).astype(np.uint8)[None, :, None], (size, 1, 3))


def test_published_scores_of_the_reference():
    """libjxl's `ssimulacra2`, as github.com/imazen/ssimulacra2 records it (src/reference_data.rs, 2026-01-04).

    Without texture its recursive float32 blur leaves errors of its own in the variances: hence the second tolerance.
    """
    assert score(*pictures(noise(64, 42), grey(64))).item() == pytest.approx(-47.335726, abs=0.003)
    assert score(*pictures(gradient(64), grey(64))).item() == pytest.approx(-64.568721, abs=0.003)
    for size, shift, published in (
        (256, 20, 59.778929),
        (128, 50, -9.823833),
        (64, 50, -8.759423),
        (32, 50, 85.014096),
    ):
        assert score(*pictures(grey(size), grey(size, 128 + shift))).item() == pytest.approx(published, abs=0.5)


def test_damage_lowers_the_score(photo):
    a = np.asarray(photo)[:128, :160]
    damage = np.random.default_rng(0).normal(0, 1, a.shape)
    scores = [score(*pictures(a, np.clip(a + sigma * damage, 0, 255).astype(np.uint8))).item() for sigma in (0, 4, 16)]
    assert scores[0] == 100 and scores == sorted(scores, reverse=True)


def test_float32_is_precise_enough_to_measure_with(photo):
    a, b = pictures(np.asarray(photo)[:256, :256], np.asarray(photo)[:256, :256] ^ 5)
    assert score(a.float(), b.float()).item() == pytest.approx(score(a, b).item(), abs=0.003)


def test_pictures_too_small_are_refused():
    with pytest.raises(ValueError, match="8 pixels a side, got 9 × 7"):
        score(*pictures(grey(9)[:7], grey(9)[:7]))


def test_the_blur_is_a_separable_kernel_with_zeros_beyond_the_sides():
    """At any size, whether or not one band matrix covers it."""
    assert TAPS[0] + 2 * sum(TAPS[1:]) == pytest.approx(1)
    assert sum(2 * k * k * tap for k, tap in enumerate(TAPS)) == pytest.approx(1.5**2)
    kernel = torch.tensor([*TAPS[:0:-1], *TAPS], dtype=torch.float64)
    for height, width in ((5, 8), (40, BLOCK), (BLOCK + 3, 2 * BLOCK + 1)):
        x = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        convolved = torch.nn.functional.conv2d(x[:, None], torch.outer(kernel, kernel)[None, None], padding=RADIUS)
        assert torch.allclose(blur(x), convolved[:, 0])


def test_slopes_are_those_of_finite_differences_and_finite_everywhere():
    random = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 16, 24, generator=random, dtype=torch.float64)
    near = (x + 0.05 * torch.randn(x.shape, generator=random, dtype=torch.float64)).clamp(0, 1)
    weights = WEIGHTS[:, :2].clone()
    assert torch.autograd.gradcheck(lambda y: weighted_sum(x, y, weights), near.requires_grad_(), fast_mode=True)
    for exact in (x, x.round(), torch.zeros_like(x)):
        same = exact.float().clone().requires_grad_()
        total = weighted_sum(exact.float(), same, weights)
        total.backward()
        assert total.item() == 0 and torch.isfinite(same.grad).all()
