"""The networks: analysis g_a, synthesis g_s, hyper pair h_a / h_s and the 4-pass context model.

                                        x  (B, 3, H, W), 0..1, H and W multiples of 16
        g_a: residual blocks at 1/8  ───┤
             + linear shortcut          ▼
                                        y  (B, M, H/16, W/16) ──h_a──► z  (B, Z, H/64, W/64)
                                        │                              │ 4 passes, as for y: z_context(prior, ẑ so far)
                                        │          ┌────── h_s ◄────── ẑ
                                        ▼          ▼
                           4 passes:  y − μ  ◄── context(h, ŷ so far)  ──► σ
                                        │ quantise
                                        ▼
        g_s: mirror of g_a         ◄──  ŷ = quantise(y − μ, σ) + μ
                                        x̂  (B, 3, H, W)

One network serves all rates: row q of 64 scales the features of g_a and g_s, y and z, channel by channel (gain units:
Cui et al., arXiv:2003.02012).
Training runs the float functions in this file. Files are coded with the whole-number twin of everything
between ẑ's prior and the symbols (`entropy_model.py`), built from the same parameters.

Two parts are optional. Feedback corrects y by what g_s(y) lacks, in the encoder alone; texture adds detail and grain
to x̂, in the decoder alone. Needs torch alone (and config.py, layers.py), so that it trains wherever torch runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import BAND, GRAINS, GROUP_OF_PASS, NOISES, PASSES, POSITIONS, Y_SCALE, Z_SCALE, Config
from codec.layers import (
    Block,
    Down,
    Pointwise,
    PrecisePointwise,
    Upsample,
    blocks,
    gaussian_likelihood,
    lower_bound,
    quantise,
    round_ste,
    row_gain,
)


def log_lambdas(cfg: Config) -> Tensor:
    """(rates,): natural logarithm of the λ of every rate row."""
    return torch.linspace(math.log(cfg.lambda_min), math.log(cfg.lambda_max), cfg.rates, dtype=torch.float32)


class Analysis(nn.Module):
    """g_a: x (B, 3, H, W) and a feature gain (B, C, 1, 1) -> y before its own gain (B, M, H/16, W/16)."""

    def __init__(self, cfg: Config):
        super().__init__()
        c, m = cfg.width, cfg.latents
        self.stem = PrecisePointwise(192, c)
        self.before = blocks(c, cfg.enc_blocks // 2)
        self.after = blocks(c, cfg.enc_blocks - cfg.enc_blocks // 2)
        self.down = Down(c, m, gain=0.1)
        self.linear = PrecisePointwise(768, m)

    def forward(self, x: Tensor, gain: Tensor) -> Tensor:
        f = self.before(self.stem(F.pixel_unshuffle(x, 8))) * gain  # (B, C, H/8, W/8)
        return self.down(self.after(f)) + self.linear(F.pixel_unshuffle(x, 16))


class Synthesis(nn.Module):
    """g_s: ŷ with its gain undone (B, M, H/16, W/16) and a feature gain (B, C, 1, 1) -> x̂ (B, 3, H, W)."""

    def __init__(self, cfg: Config):
        super().__init__()
        c, m = cfg.width, cfg.latents
        self.up = Upsample(m, c)
        self.before = blocks(c, cfg.dec_blocks // 2)
        self.after = blocks(c, cfg.dec_blocks - cfg.dec_blocks // 2)
        self.head = Pointwise(c, 192, gain=0.1)
        self.linear = PrecisePointwise(m, 768)

    def features(self, y: Tensor, gain: Tensor) -> Tensor:
        """What the last layer and `Texture` see: (B, C, H/8, W/8)."""
        return self.after(self.before(self.up(y * Y_SCALE)) * gain)

    def picture(self, y: Tensor, features: Tensor) -> Tensor:
        return F.pixel_shuffle(self.head(features), 8) + F.pixel_shuffle(self.linear(y), 16)

    def forward(self, y: Tensor, gain: Tensor) -> Tensor:
        return self.picture(y, self.features(y, gain))


class Feedback(nn.Module):
    """f: what the decoder would lack, x − g_s(y) (B, 3, H, W), -> a correction of y before its gain (B, M, H/16, W/16).

    One Newton step of the encoder on the decoder that there is: g_a alone leaves 40 … 75 % of the error of a file to
    g_s, whose inverse it does not know well enough. Costs the encoder a run of g_s, and the decoder nothing.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        c, m = cfg.feedback, cfg.latents
        self.stem = Pointwise(192, c)
        self.body = blocks(c, cfg.feedback_blocks)
        self.down = Down(c, m, gain=0.1)
        self.linear = PrecisePointwise(768, m)

    def forward(self, residual: Tensor) -> Tensor:
        return self.down(self.body(self.stem(F.pixel_unshuffle(residual, 8)))) + self.linear(
            F.pixel_unshuffle(residual, 16)
        )


class Texture(nn.Module):
    """What a photograph has and few bits cannot say: features of g_s, noise -> detail and grain (B, 3, H, W) each.

    Detail is a picture like that of g_s, sharper than its mean. Grain is noise, filtered into `GRAINS` bands of some
    direction and size, each as strong as the features say around each place: it overlaps blocks, so that none show.
    Nothing else of the network depends on either: a picture without them is the faithful one.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        t = cfg.texture
        self.gain = nn.Parameter(torch.zeros(cfg.rates, t))
        self.level = nn.Parameter(torch.zeros(cfg.rates, 2))  # logarithms of the strength of detail and of grain
        self.stem = Pointwise(cfg.width, t)
        self.body = blocks(t, cfg.texture_blocks)
        self.detail = Pointwise(t, 192, gain=0.02)
        self.strength = Pointwise(t, 4 * GRAINS, gain=0.3)
        self.bands = nn.Parameter(torch.randn(GRAINS, 1, BAND, BAND) / BAND)
        self.colour = Pointwise(GRAINS, 3, gain=0.3)

    def forward(self, features: Tensor, q: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, H/8, W/8), rate rows q (B,), noise (B, NOISES, H, W) of mean 0 and variance 1."""
        t = self.body(self.stem(features) * row_gain(self.gain, q))
        level = row_gain(self.level, q)
        strength = F.pixel_shuffle(self.strength(t).float(), 2)  # (B, GRAINS, H/4, W/4)
        strength = F.interpolate(strength, scale_factor=4, mode="bilinear", align_corners=False)
        around = F.pad(noise, [BAND // 2] * 4, mode="circular")
        grain = self.colour(strength * F.conv2d(around, self.bands, groups=NOISES))
        return F.pixel_shuffle(self.detail(t), 8) * level[:, :1], 0.8 * grain * level[:, 1:]


class HyperSynthesis(nn.Module):
    """h_s: ẑ with its gain undone (B, Z, h, w) -> h (B, 2M, 4h, 4w), hyperprior parameters: μ and log σ of y."""

    def __init__(self, cfg: Config):
        super().__init__()
        z = cfg.hyper
        self.up1 = Upsample(z, z)
        self.block1 = Block(z)
        self.up2 = Upsample(z, z)
        self.block2 = Block(z)
        self.out = PrecisePointwise(z, 2 * cfg.latents)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.block2(self.up2(self.block1(self.up1(z)))))


def pass_masks(channels: int, height: int, width: int, device=None) -> Tensor:
    """Boolean (PASSES, channels, height, width): which values each pass codes. Every value is in exactly one."""
    mask = torch.zeros(PASSES, PASSES, height, width, dtype=torch.bool, device=device)
    for t, groups in enumerate(GROUP_OF_PASS):
        for (i, j), group in zip(POSITIONS, groups):
            mask[t, group, i::2, j::2] = True
    return mask.repeat_interleave(channels // PASSES, 1)


class Context(nn.Module):
    """Predicts values (B, channels, H, W) in four passes: a first guess, refined by what is known after each pass.

    `start` runs once, `step` for passes 1, 2, 3.
    """

    def __init__(self, channels: int, width: int, count: int, scale: float):
        """count: of blocks, shared by the passes; scale: what known values are multiplied by before they enter."""
        super().__init__()
        self.channels, self.scale = channels, scale
        self.reduce = Pointwise(2 * channels, width)
        self.adapt = nn.ModuleList([PrecisePointwise(width + channels, width) for _ in range(PASSES - 1)])
        self.body = blocks(width, count)
        self.out = PrecisePointwise(width, 2 * channels, gain=0.3)

    def start(self, h: Tensor) -> Tensor:
        return self.reduce(h)

    def step(self, t: int, h: Tensor, reduced: Tensor, known: Tensor) -> Tensor:
        return self.out(self.body(self.adapt[t - 1](torch.cat([reduced, known * self.scale], 1)))) + h

    def forward(
        self, values: Tensor, h: Tensor, quantise: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values, h (B, 2 · channels, H, W) of μ and log σ -> quantised values, μ, log σ, each (B, channels, H, W)."""
        reduced = self.start(h)
        masks = pass_masks(self.channels, values.shape[2], values.shape[3], values.device)
        known = mean = log_sigma = torch.zeros_like(values)
        for t, mask in enumerate(masks):
            params = h if t == 0 else self.step(t, h, reduced, known)
            mu, log_s = params.float().chunk(2, 1)
            mean, log_sigma = torch.where(mask, mu, mean), torch.where(mask, log_s, log_sigma)
            known = torch.where(mask, quantise(values - mu, log_s) + mu, known)
        return known, mean, log_sigma


class Model(nn.Module):
    """The whole codec as a trainable network. `forward` is the training pass."""

    lambdas: Tensor  # (rates,)

    def __init__(self, cfg: Config):
        super().__init__()
        if cfg.latents % PASSES or cfg.hyper % PASSES:
            raise ValueError(f"channels of y and z must be multiples of {PASSES}, got {cfg.latents}, {cfg.hyper}")
        self.cfg = cfg
        c, m, z, n = cfg.width, cfg.latents, cfg.hyper, cfg.rates
        self.g_a = Analysis(cfg)
        self.g_s = Synthesis(cfg)
        self.feedback = Feedback(cfg) if cfg.feedback else None
        self.texture = Texture(cfg) if cfg.texture else None
        self.h_a = nn.Sequential(Pointwise(m, z), Block(z), Down(z, z), Block(z), Down(z, z))
        self.h_s = HyperSynthesis(cfg)
        self.context = Context(m, cfg.context, cfg.context_blocks, Y_SCALE)
        self.z_context = Context(z, z, cfg.z_blocks, Z_SCALE)
        # per-rate gains, as logarithms
        self.gain_enc = nn.Parameter(torch.zeros(n, c))
        self.gain_dec = nn.Parameter(torch.zeros(n, c))
        slope = torch.linspace(-1.2, 1.2, n)[:, None].repeat(1, m)
        self.gain_y = nn.Parameter(slope)
        self.gain_y_inverse = nn.Parameter(-slope.clone())
        self.gain_z = nn.Parameter(torch.zeros(n, z))
        if cfg.feedback:
            self.gain_feedback = nn.Parameter(torch.zeros(n, m))
        self.z_prior = nn.Parameter(torch.zeros(n, 2 * z))  # first guess of μ and log σ of z
        self.register_buffer("lambdas", log_lambdas(cfg).exp(), persistent=False)

    def channels_last(self) -> Model:
        """This model, its weights laid out as convolutions want them."""
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it

    @torch.no_grad()
    def init_linear(self, mean: Tensor, basis: Tensor, variance: Tensor) -> None:
        """Make the linear shortcut a PCA transform codec, so that step 0 already works.

        mean (768,), basis (M, 768) orthonormal rows, variance (M,): of pixel_unshuffle(16) training patches.
        """
        scale = 1 / Y_SCALE
        self.g_a.linear.weight.copy_(basis * scale)
        self.g_a.linear.bias.copy_(-(basis @ mean) * scale)
        self.g_s.linear.weight.copy_(basis.t() / scale)
        self.g_s.linear.bias.copy_(mean)
        self.h_s.out.bias[self.cfg.latents :] = torch.log(variance.sqrt() * scale + 0.1)

    def analyse(self, x: Tensor, q: Tensor) -> Tensor:
        """x (B, 3, H, W), rate rows q (B,) -> y (B, M, H/16, W/16), ready for rounding."""
        y = self.g_a(x, row_gain(self.gain_enc, q)) * row_gain(self.gain_y, q)
        if self.feedback is None:
            return y
        with (
            torch.no_grad()
        ):  # the correction learns from what is lacking; a gradient through g_s would double its cost
            lacking = x - self.synthesise(y, q).float().clamp(0, 1).mul(255).round().div(255)  # as decoders give it
        return y + self.feedback(lacking) * row_gain(self.gain_y + self.gain_feedback, q)

    def synthesise(self, y_hat: Tensor, q: Tensor) -> Tensor:
        """ŷ (B, M, h, w), rate rows q (B,) -> x̂ (B, 3, 16h, 16w)."""
        return self.g_s(y_hat * row_gain(self.gain_y_inverse, q), row_gain(self.gain_dec, q))

    def decode_features(self, y_hat: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """ŷ (B, M, h, w), rate rows q (B,) -> x̂ (B, 3, 16h, 16w) and what `Texture` sees of it (B, C, 2h, 2w)."""
        y = y_hat * row_gain(self.gain_y_inverse, q)
        features = self.g_s.features(y, row_gain(self.gain_dec, q))
        return self.g_s.picture(y, features), features

    def hyper_analyse(self, y: Tensor, q: Tensor) -> Tensor:
        """y (B, M, h, w) -> z (B, Z, ⌈h/4⌉, ⌈w/4⌉), ready for rounding."""
        return self.h_a(y * Y_SCALE) * row_gain(self.gain_z, q)

    def predict_z(
        self, z: Tensor, q: Tensor, quantise: Callable[[Tensor, Tensor], Tensor] = lambda r, _: round_ste(r)
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Float entropy parameters of z: z -> ẑ, μ, log σ, each (B, Z, h, w), by its four passes."""
        prior = self.z_prior[q][:, :, None, None].expand(-1, -1, *z.shape[2:])
        return self.z_context(z, prior, quantise)

    def predict(
        self, y: Tensor, z_hat: Tensor, q: Tensor, quantise: Callable[[Tensor, Tensor], Tensor] = quantise
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Float entropy parameters of y: y, ẑ -> ŷ, μ, log σ, each (B, M, h, w), by its four passes."""
        h = self.h_s(z_hat * row_gain(-self.gain_z, q))[..., : y.shape[2], : y.shape[3]]
        return self.context(y, h, quantise)

    def forward(self, x: Tensor, q: Tensor, noise: bool = True) -> tuple[Tensor, Tensor]:
        """x (B, 3, H, W), rate rows q (B,) -> x̂ (B, 3, H, W) and estimated bits per pixel (B,).

        With noise, the rate of uniformly perturbed latents is counted (differentiable); without, of rounded ones.
        """
        y = self.analyse(x, q).float()
        z = self.hyper_analyse(y, q).float()
        z_hat, z_mean, z_log_sigma = self.predict_z(z, q)
        y_hat, y_mean, y_log_sigma = self.predict(y, z_hat, q)

        def bits(values: Tensor, quantised: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
            symbols = values - mean + torch.rand_like(values) - 0.5 if noise else quantised - mean
            return -lower_bound(gaussian_likelihood(symbols, log_sigma), 1e-9).log2().sum((1, 2, 3))

        total = bits(z, z_hat, z_mean, z_log_sigma) + bits(y, y_hat, y_mean, y_log_sigma)
        x_hat = self.synthesise(y_hat, q).float()
        return x_hat, total / (x.shape[2] * x.shape[3])
