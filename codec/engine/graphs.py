"""The networks as ONNX graphs, written down from a weights file; torch is not needed.

What each takes and gives. C, M, Z, P, N are the channels of features, y, ẑ, context and latents (M or Z); h and w are
free; everything is float32 unless it says otherwise. `row`, the rate row, and `t`, a pass, are int64 (1,); `size` is H
and W, int64 (2,).

    g_a       pixels uint8 (1, 16h, 16w, 3), row       -> y (1, M, h, w), before rounding
    h_a       y (1, M, h, w), row                      -> z (1, Z, ⌈h/4⌉, ⌈w/4⌉), before rounding
    g_s       y (1, M, h, w), row                      -> pixels uint8 (1, 16h, 16w, 3)
    z_start   row, size                                -> reduced (1, Z, H, W), guess (4, 2Z, ⌈H/2⌉, ⌈W/2⌉)
    y_start   z (1, Z, h, w), size                     -> reduced (1, P, H, W), guess (4, 2M, ⌈H/2⌉, ⌈W/2⌉)
    z_step, y_step   t, reduced, values (1, 4N, ⌈H/2⌉, ⌈W/2⌉), guess (1, 2N, ⌈H/2⌉, ⌈W/2⌉)
                                                       -> params (1, 2N, ⌈H/2⌉, ⌈W/2⌉)

`g_a`, `h_a` and `g_s` are float networks (model.py). The others are the entropy model (FORMAT.md): each number that
goes in or out is whole, and so small that float32 holds it exactly. In them the 2 × 2 positions (row mod 2, column mod
2) of a latent plane lie one behind the other as *parts*, a plane of ⌈H/2⌉ × ⌈W/2⌉ each; what a part has beyond row H or
column W means nothing. One pass t = 0 … 3, with n = N / 4:

    params = guess[0] in pass 0, else step(t, reduced, values, guess[t]) for t = 1, 2, 3
    params[position, 0, channel] is μ, params[position, 1, channel] level: (4, 2, n, ⌈H/2⌉, ⌈W/2⌉)
    index = clamp((level + 16) >> 5, 0, 63); symbols are coded in the order of params, but for those beyond H, W
    values[position, n·GROUP_OF_PASS[t][position] + channel] = 64 · symbol + μ: (4, N, ⌈H/2⌉, ⌈W/2⌉), 0 at first

`z` of y_start is clamp((ẑ · z_gain[row][channel] + 2¹³) >> 14, ±4095), with ẑ in 1/64: the `values` of z's four passes.
This product does not fit float32: take int64 or float64. `z_gain` and the frequency tables are in `manifest`.

Weights stay half-precision floats, or the whole numbers that they are, and become float32 where a graph is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from codec.config import GROUP_OF_PASS, PASSES, Y_SCALE
from codec.engine.graph import FLOAT, INT64, UINT8, Graph
from codec.engine.whole_numbers import Context, first_guess
from codec.weights import Weights

LINEAR, FEATURES = "_linear", "_features"  # parts of g_a and g_s, for those who evaluate them in different precisions


def analysis(weights: Weights, part: str = "") -> onnx.ModelProto:
    """g_a; or the linear shortcut alone; or all the rest, which takes that as an input `linear`."""
    g, cfg = Graph(weights), weights.config
    pixels, row = g.input("pixels", (1, "16h", "16w", 3), UINT8), g.input("row", (1,), INT64)
    shape = (1, cfg.latents, "h", "w")
    eight = g.constant(np.array([8]))
    height, width = (g.op("Div", g.size(pixels, slice(i, i + 1)), eight) for i in (1, 2))
    x = g.reshape(pixels, 1, height, 8, width, 8, 3)
    x = g.op("Transpose", x, perm=[0, 5, 2, 4, 1, 3])
    x = g.times(g.op("Cast", g.reshape(x, 1, 192, height, width), to=FLOAT), 1 / 255)  # pixel-unshuffle
    if part == FEATURES:
        linear = g.input("linear", shape)
    else:
        linear = g.permuted(g.op("SpaceToDepth", x, blocksize=2), "g_a.linear", patch_order(last=False), axis=1)
        linear = g.gain(linear, "gain_y", row)
    if part == LINEAR:
        return g.finish("g_a_linear", linear=(linear, shape, FLOAT))
    f = g.blocks(g.pointwise(x, "g_a.stem"), "g_a.before", cfg.enc_blocks // 2)
    f = g.blocks(g.gain(f, "gain_enc", row), "g_a.after", cfg.enc_blocks - cfg.enc_blocks // 2)
    y = g.add(g.gain(g.down(f, "g_a.down"), "gain_y", row), linear)
    return g.finish(f"g_a{part}", y=(y, shape, FLOAT))


def hyper_analysis(weights: Weights) -> onnx.ModelProto:
    """h_a."""
    g, cfg = Graph(weights), weights.config
    y, row = g.input("y", (1, cfg.latents, "h", "w")), g.input("row", (1,), INT64)
    x = g.block(g.pointwise(g.times(y, Y_SCALE), "h_a.0"), "h_a.1")
    z = g.down(g.block(g.down(x, "h_a.2"), "h_a.3"), "h_a.4")
    return g.finish("h_a", z=(g.gain(z, "gain_z", row), (1, cfg.hyper, "h_4", "w_4"), FLOAT))


def synthesis(weights: Weights, part: str = "") -> onnx.ModelProto:
    """g_s; or the linear shortcut alone, (1, 192, 2h, 2w); or all the rest, which takes that as an input `linear`."""
    g, cfg = Graph(weights), weights.config
    y, row = g.input("y", (1, cfg.latents, "h", "w")), g.input("row", (1,), INT64)
    y, shape = g.gain(y, "gain_y_inverse", row), (1, 192, "2h", "2w")
    if part == FEATURES:
        linear = g.input("linear", shape)
    else:
        linear = g.upsample(g.permuted(y, "g_s.linear", patch_order(last=True), axis=0))
    if part == LINEAR:
        return g.finish("g_s_linear", linear=(linear, shape, FLOAT))
    f = g.upsample(g.pointwise(g.times(y, Y_SCALE), "g_s.up.expand"))
    f = g.gain(g.blocks(f, "g_s.before", cfg.dec_blocks // 2), "gain_dec", row)
    f = g.blocks(f, "g_s.after", cfg.dec_blocks - cfg.dec_blocks // 2)
    x = g.op("Round", g.times(g.add(g.pointwise(f, "g_s.head"), linear), 255))
    x = g.op("Cast", g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(255))), to=UINT8)
    size = g.size(x)
    x = g.op("Transpose", g.reshape(x, 1, 3, 8, 8, size), perm=[0, 4, 2, 5, 3, 1])  # pixel-shuffle, colour last
    x = g.reshape(x, 1, g.op("Mul", size, g.constant(np.array([8]))), 3)
    return g.finish(f"g_s{part}", pixels=(x, (1, "16h", "16w", 3), UINT8))


def patch_order(last: bool) -> np.ndarray:
    """Which sample of a pixel-unshuffled 16×16 patch is where, if it is unshuffled by 8 and then by 2 instead.

    last: which of the 2×2 comes last in the order, else first.
    """
    order = np.arange(768).reshape(3, 2, 8, 2, 8).transpose(0, 2, 4, 1, 3).reshape(192, 4)
    return (order if last else order.T).reshape(-1)


def start_of_z(weights: Weights) -> onnx.ModelProto:
    """z_start."""
    g, channels = Graph(weights), weights.config.hyper
    row, size = g.input("row", (1,), INT64), g.input("size", (2,), INT64)
    h = g.reshape(g.op("Gather", g.stored("exact.z_prior"), row, axis=0), 1, 2 * channels, 1, 1)
    shape = g.op("Concat", g.constant(np.array([1, 2 * channels])), size, axis=0)
    return _started(g, "z", g.op("Expand", h, shape))


def start_of_y(weights: Weights) -> onnx.ModelProto:
    """y_start."""
    g = Graph(weights)
    z, size = g.input("z", (1, weights.config.hyper, "h", "w")), g.input("size", (2,), INT64)
    return _started(g, "y", g.crop(first_guess(g, z), size))


def _started(g: Graph, kind: str, h: str) -> onnx.ModelProto:
    context = Context(g, kind, g.weights.config)
    reduced, guesses = context.start(h)
    shape = (PASSES, 2 * context.channels, "H_2", "W_2")
    return g.finish(
        f"{kind}_start",
        reduced=(reduced, (1, context.width, "H", "W"), FLOAT),
        guess=(g.op("Concat", *guesses, axis=0), shape, FLOAT),
    )


def step(weights: Weights, kind: str) -> onnx.ModelProto:
    """y_step or z_step."""
    g = Graph(weights)
    context = Context(g, kind, weights.config)
    half = ("H_2", "W_2")
    t, reduced = g.input("t", (1,), INT64), g.input("reduced", (1, context.width, "H", "W"))
    values, guess = (
        g.input("values", (1, 4 * context.channels, *half)),
        g.input("guess", (1, 2 * context.channels, *half)),
    )
    params = context.step(t, reduced, values, guess)
    return g.finish(f"{kind}_step", params=(params, (1, 2 * context.channels, *half), FLOAT))


ENCODER: dict[str, Callable[[Weights], onnx.ModelProto]] = {"g_a": analysis, "h_a": hyper_analysis}
DECODER: dict[str, Callable[[Weights], onnx.ModelProto]] = {
    "g_s": synthesis,
    "z_start": start_of_z,
    "y_start": start_of_y,
    "z_step": partial(step, kind="z"),
    "y_step": partial(step, kind="y"),
}
PARTS = {
    f"{name}{part}": partial(build, part=part)
    for name, build in (("g_a", analysis), ("g_s", synthesis))
    for part in (LINEAR, FEATURES)
}


def manifest(weights: Weights) -> dict:
    """What else a reader needs: configuration, fingerprint, gains of ẑ and frequency tables (FORMAT.md)."""
    tables = {}
    for label in ("y", "y_gaussian", "z"):
        cdf, length, offset = (weights.tables[f"{label}.{part}"] for part in ("cdf", "length", "offset"))
        cdfs = np.split(cdf, np.cumsum(length)[:-1])
        tables[label] = [{"offset": int(o), "cdf": c.tolist()} for c, o in zip(cdfs, offset)]
    return {
        "name": weights.name,
        "fingerprint": weights.fingerprint.hex(),
        "config": asdict(weights.config),
        "group_of_pass": GROUP_OF_PASS,
        "z_gain": weights.exact["z_gain"].tolist(),
        "tables": tables,
    }


def export(weights: Weights, folder: Path, encoder: bool = True) -> None:
    """All graphs and `manifest.json`; without `encoder`, a reader's only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in ((ENCODER if encoder else {}) | DECODER).items():
        (folder / f"{name}.onnx").write_bytes(build(weights).SerializeToString())
    (folder / "manifest.json").write_text(json.dumps(manifest(weights)) + "\n")
