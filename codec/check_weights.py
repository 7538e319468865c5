"""Whether a weights file is what it says: everything that is read of it is looked at before anything is computed.

A file from elsewhere may be damaged or forged, and one's own training may have left NaN in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from codec.config import PASSES, SIGMA_LEVELS, Config
from codec.engine.integer_networks import LIMIT, SUM_LIMIT, WIDE_LIMIT
from codec.errors import FormatError
from codec.rans import PRECISION, SYMBOL_LIMIT
from codec.settings import TUNES
from codec.weights import Weights

MOST = {"rates": 128, "enc_blocks": 32, "dec_blocks": 32, "context_blocks": 32, "z_blocks": 32}  # a row is half a byte
WIDEST = 4096  # channels
LARGEST_GAIN = 16  # logarithm
LARGEST_SHIFT = 24  # bits
LONGEST_NAME = 100
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def check(weights: Weights) -> None:
    """Raises: FormatError where something is missing, of another shape or kind, not finite, or out of its range."""
    _check_description(weights)
    cfg = weights.config
    _check_tensors(weights.networks, dict(network_shapes(cfg)), "", "float16")
    _check_tensors(weights.exact, dict(exact_shapes(cfg)), "exact.", "a whole number")
    for name, array in weights.networks.items():
        largest = LARGEST_GAIN if name.startswith("gain_") else float(np.finfo(np.float16).max)
        require(_is_within(array, largest), f"{name} has no sound numbers")
    for name in layers(weights.exact):
        _check_sums(weights.exact, name)
    for name, low, high in (
        ("z_prior", -WIDE_LIMIT, WIDE_LIMIT),
        ("z_gain", 0, 2**31 - 1),
        *((f"{context}.{shift}_shift", 0, LARGEST_SHIFT) for context in CONTEXTS for shift in ("h", "known")),
    ):
        require(within(weights.exact[name], low, high), f"exact.{name} is not within {low} … {high}")
    for label, least in (("y", SIGMA_LEVELS), ("y_gaussian", 1), ("z", SIGMA_LEVELS)):
        _check_tables(weights.tables, label, least)


def require(sound: bool, otherwise: str) -> None:
    if not sound:
        raise FormatError(f"no weights of this codec: {otherwise}")


def within(array: np.ndarray, low: int, high: int) -> bool:
    return not array.size or bool(low <= array.min() and array.max() <= high)


def _is_within(array: np.ndarray, largest: float) -> bool:
    """Whether float16 numbers are finite and within ± largest: their bits rise with them, quick to compare."""
    return bool(((array.view(np.uint16) & 0x7FFF) <= np.float16(largest).view(np.uint16)).all())


def _check_description(weights: Weights) -> None:
    name, cfg = weights.name, weights.config
    require(isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST_NAME, "they have no proper name")
    require(weights.tune in TUNES, f"trained for {str(weights.tune)[:20]!r}, which is none of {', '.join(TUNES)}")
    for field in fields(Config):
        value, most = getattr(cfg, field.name), MOST.get(field.name, WIDEST)
        if field.type == "int":
            least = 2 if field.name == "rates" else 0 if field.name.endswith("blocks") else PASSES
            require(type(value) is int and least <= value <= most, f"{field.name} is not {least} … {most}")
        else:
            require(type(value) in (int, float) and 0 < value < 1e9, f"{field.name} is no positive number")
    for channels in ("latents", "hyper"):
        require(getattr(cfg, channels) % PASSES == 0, f"{channels} is no multiple of {PASSES}")


# -- shapes ----------------------------------------------------------------------------------------------------------

CONTEXTS = ("context", "z_context")


def network_shapes(cfg: Config) -> Shapes:
    """Of every tensor of model.py, by name."""
    c, m, z, rates = cfg.width, cfg.latents, cfg.hyper, cfg.rates
    for name, weight in (
        ("g_a.stem", (c, 192)),
        *_blocks("g_a.before", c, cfg.enc_blocks // 2),
        *_blocks("g_a.after", c, cfg.enc_blocks - cfg.enc_blocks // 2),
        ("g_a.down", (m, 9 * c)),
        ("g_a.linear", (m, 768)),
        ("g_s.up.expand", (4 * c, m)),
        *_blocks("g_s.before", c, cfg.dec_blocks // 2),
        *_blocks("g_s.after", c, cfg.dec_blocks - cfg.dec_blocks // 2),
        ("g_s.head", (192, c)),
        ("g_s.linear", (768, m)),
        ("h_a.0", (z, m)),
        *_block("h_a.1", z),
        ("h_a.2", (z, 9 * z)),
        *_block("h_a.3", z),
        ("h_a.4", (z, 9 * z)),
        *entropy_layers(cfg),
    ):
        yield f"{name}.weight", weight
        yield f"{name}.bias", weight[:1]
    gains = {"gain_enc": c, "gain_dec": c, "gain_y": m, "gain_y_inverse": m, "gain_z": z, "z_prior": 2 * z}
    yield from ((name, (rates, channels)) for name, channels in gains.items())


def exact_shapes(cfg: Config) -> Shapes:
    """Of every tensor under "exact.", by name."""
    for name, weight in entropy_layers(cfg):
        yield f"{name}.weight", weight
        yield f"{name}.bias", weight[:1]
        yield f"{name}.shift", weight[:1]
    yield "z_gain", (cfg.rates, cfg.hyper)
    yield "z_prior", (cfg.rates, 2 * cfg.hyper)
    for context, channels in zip(CONTEXTS, (cfg.latents, cfg.hyper)):
        yield f"{context}.h_shift", (2 * channels,)
        yield f"{context}.known_shift", (channels,)


def entropy_layers(cfg: Config) -> Shapes:
    """Weights of h_s and the context models."""
    m, z = cfg.latents, cfg.hyper
    for i in (1, 2):
        yield f"h_s.up{i}.expand", (4 * z, z)
        yield from _block(f"h_s.block{i}", z)
    yield "h_s.out", (2 * m, z)
    sizes = (m, cfg.context, cfg.context_blocks), (z, z, cfg.z_blocks)
    for name, (channels, width, count) in zip(CONTEXTS, sizes):
        yield f"{name}.reduce", (width, 2 * channels)
        yield from ((f"{name}.adapt.{t}", (width, width + channels)) for t in range(PASSES - 1))
        yield from _blocks(f"{name}.body", width, count)
        yield f"{name}.out", (2 * channels, width)


def _blocks(name: str, channels: int, count: int) -> Shapes:
    for i in range(count):
        yield from _block(f"{name}.{i}", channels)


def _block(name: str, n: int) -> Shapes:
    yield f"{name}.mix_in", (n, n)
    yield f"{name}.spatial", (n, 1, 3, 3)
    yield f"{name}.mix_out", (n, n)
    yield f"{name}.expand", (2 * n, n)
    yield f"{name}.contract", (n, 2 * n)


def _check_tensors(found: dict[str, np.ndarray], shapes: dict[str, tuple], prefix: str, kind: str) -> None:
    for name in sorted(found.keys() ^ shapes.keys()):
        require(False, f"{prefix}{name[:80]} is {'missing' if name in shapes else 'unknown'}")
    for name, shape in shapes.items():
        array = found[name]
        require(array.shape == shape, f"{prefix}{name} is {array.shape}, not {shape}")
        right = array.dtype == np.float16 if kind == "float16" else array.dtype.kind == "i"
        require(right, f"{prefix}{name} is {array.dtype}, not {kind}")


# -- whole numbers and tables ----------------------------------------------------------------------------------------


def layers(exact: dict[str, np.ndarray]) -> list[str]:
    """Names of the layers in whole numbers."""
    return sorted(k.removesuffix(".weight") for k in exact if k.endswith(".weight"))


def _check_sums(exact: dict[str, np.ndarray], name: str) -> None:
    """Raises: FormatError where a sum could leave what float32 is exact for."""
    weight, bias, shift = (exact[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    sums = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(1)
    reach = int((sums * LIMIT + np.abs(bias.astype(np.float64))).max())
    require(reach < SUM_LIMIT, f"layer {name} is not exact (sums may reach {reach})")
    require(within(shift, 0, LARGEST_SHIFT), f"layer {name} is not exact (a shift is not within 0 … {LARGEST_SHIFT})")


def _check_tables(tables: dict[str, np.ndarray], label: str, least: int) -> None:
    """Raises: FormatError."""
    missing = [part for part in ("cdf", "length", "offset") if f"{label}.{part}" not in tables]
    require(not missing, f"tables.{label}.{(*missing, '')[0]} is missing")
    cdf, length, offset = (tables[f"{label}.{part}"] for part in ("cdf", "length", "offset"))
    for array in (cdf, length, offset):
        require(array.dtype.kind == "i" and array.ndim == 1, f"tables.{label} are no lists of whole numbers")
    count = len(length)
    require(least <= count <= SIGMA_LEVELS, f"tables.{label} are {count}, not {least} … {SIGMA_LEVELS}")
    require(len(offset) == count, f"tables.{label} are {count}, but have {len(offset)} offsets")
    require(within(length, 3, 2**16 + 1), f"a length of tables.{label} is impossible")
    require(int(length.sum(dtype=np.int64)) == len(cdf), f"the lengths of tables.{label} do not add up")
    ends = np.cumsum(length, dtype=np.int64)
    rising = np.diff(cdf.astype(np.int64)) > 0
    rising[ends[:-1] - 1] = True  # from one table to the next
    whole = (cdf[ends - length] == 0).all() and (cdf[ends - 1] == 1 << PRECISION).all() and rising.all()
    require(bool(whole), f"a frequency table of tables.{label} is damaged")
    require(within(offset, -SYMBOL_LIMIT, SYMBOL_LIMIT - int(length.max())), f"tables.{label} reach too far")
