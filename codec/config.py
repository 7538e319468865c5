"""What describes a network: its size, its geometry, and the constants that all its evaluations share. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from codec.errors import LatError

LATENT = 16  # pixels per latent, each way
HYPER = 4  # latents per position of ẑ, each way
TILE = 64  # latents a side of a tile, at most: what a reader must be able to hold
SLOPE = 0.125  # LeakyReLU; a power of two, so that whole-number evaluation can follow it exactly
Y_SCALE = 1 / 16  # networks see y and ŷ times this: the PCA shortcut works at 16 × pixel scale
Z_SCALE = 1 / 4  # and the context model of ẑ sees it times this
SIGMA_MIN, SIGMA_MAX, SIGMA_LEVELS = 0.11, 256.0, 64  # log-spaced scale table
PASSES = 4
NOISES = 3  # planes of noise that texture is made of
GRAINS, BAND = 24, 7  # bands of noise, as many of each plane; side of their filters
DEAD_ZONE = 0.008  # σ² times what the zero bin of a residual is wider, on either side, than half a step
DEAD_ZONE_MAX = 0.95  # of all that it is wide on either side

# Which channel group is coded in which pass, for each of the four positions of a 2×2 square of latents:
# after every pass each position knows one group more, and no two neighbours know the same ones
# (the quadtree split of DCVC-DC, arXiv:2302.14402).
POSITIONS = ((0, 0), (0, 1), (1, 0), (1, 1))
GROUP_OF_PASS = ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2))  # [pass][position] -> group


def is_within(value: object, low: float, high: float) -> bool:
    """Whether this is a real number of that range, ends included; NaN, True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(low <= value <= high)  # type: ignore[operator]


def ceil_div(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)


@dataclass(frozen=True)
class Config:
    """Size of the network. Widths in channels; `macs()` gives the arithmetic per pixel."""

    width: int = 128  # C, of g_a and g_s at 1/8 resolution
    latents: int = 288  # M, channels of y; PCA of 16×16 patches reaches 37.5 dB on Kodak with 192, 43.9 with 288
    hyper: int = 64  # Z, channels of z
    context: int = 128  # P, width of the context model of y; that of z is Z wide
    enc_blocks: int = 4
    dec_blocks: int = 4
    context_blocks: int = 2
    z_blocks: int = 2  # of the context model of z
    feedback: int = 0  # width of the encoder's feedback (`model.Feedback`); 0: none
    feedback_blocks: int = 2
    texture: int = 0  # width of the decoder's texture (`model.Texture`); 0: none
    texture_blocks: int = 2
    rates: int = 64
    lambda_min: float = 0.00058  # `-q 0`: 26.2 dB on Kodak, where the published curves of BPG and VTM begin
    lambda_max: float = 0.25

    def row(self, quality: float) -> int:
        """Rate row of a quality.

        Raises: LatError outside 0 … 100.
        """
        if not is_within(quality, 0, 100):
            raise LatError(f"quality must be 0 … 100, got {quality!r}")
        return round(quality * (self.rates - 1) / 100)

    def quality(self, row: float) -> float:
        """Quality 0 … 100 of a rate row, or of a place between two."""
        return 100 * row / (self.rates - 1)

    def lambda_of(self, row: int) -> float:
        """Bits that a squared error of 1 (of 255², mean over the channels) of a pixel is worth."""
        return self.lambda_min * (self.lambda_max / self.lambda_min) ** (row / (self.rates - 1))

    @property
    def encoder_reach(self) -> int:
        """Pixels beyond a latent's own 16×16 that it depends on; with feedback, those that it notes.

        What feedback corrects depends on pixels further away, through g_a and g_s, by less than rounding.
        """
        feedback = 8 * (self.feedback_blocks + 1) if self.feedback else 0
        return 8 * (self.enc_blocks + 1) + feedback

    @property
    def decoder_reach(self) -> int:
        """Latents beyond its own that a pixel depends on."""
        return ceil_div(self.dec_blocks, 2)

    def macs(self) -> dict[str, float]:
        """Multiply-accumulates per pixel, in thousands: encode, decode (each with entropy parameters), entropy.

        As files are coded: the last layer of a pass is evaluated only for what the pass codes (`entropy_model.py`).
        """
        c, m, z, p = self.width, self.latents, self.hyper, self.context

        def block(n: int) -> int:
            return 6 * n * n + 9 * n

        g_a = (192 * c + self.enc_blocks * block(c)) / 64 + (9 * c + 768) * m / 256
        g_s = (192 * c + self.dec_blocks * block(c)) / 64 + (4 * c + 768) * m / 256
        h_a = (m * z + block(z)) / 256 + (9 * z * z + block(z)) / 1024 + 9 * z * z / 4096
        z_passes = (2 * z * z + 3 * (2 * z * z + self.z_blocks * block(z) + 2 * z * z / PASSES)) / 4096
        h_s = 4 * z * z / 4096 + (block(z) + 4 * z * z) / 1024 + (block(z) + 2 * m * z) / 256
        passes = (2 * m * p + 3 * ((p + m) * p + self.context_blocks * block(p) + 2 * m * p / PASSES)) / 256
        entropy = z_passes + h_s + passes
        named = {"encode": g_a + h_a + entropy, "decode": g_s + entropy, "entropy": entropy}
        if self.feedback:
            f = (192 * self.feedback + self.feedback_blocks * block(self.feedback)) / 64
            named["encode"] += g_s + f + (9 * self.feedback + 768) * m / 256
        return {name: round(value / 1000, 2) for name, value in named.items()}


SIZES = {
    "fast": Config(),
    # λ from lower on: at the same λ it has a higher PSNR, and both should begin at the same quality
    "best": Config(
        width=256, latents=320, context=160, enc_blocks=6, dec_blocks=5, context_blocks=3, lambda_min=0.00048
    ),
}

# Sizes in training, that take the place of those above once their weights do (`.training/README.md`).
NEXT_SIZES = {
    "fast-9": Config(latents=640, feedback=64, texture=96, lambda_max=1.2),
    "best-9": Config(
        width=256,
        latents=640,
        context=160,
        enc_blocks=6,
        dec_blocks=5,
        context_blocks=3,
        feedback=128,
        texture=128,
        lambda_min=0.00048,
        lambda_max=1.2,
    ),
}
