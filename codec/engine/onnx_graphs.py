"""The networks as ONNX graphs, written down from a weights file; torch is not needed.

What each takes and gives. C, M, Z, P, N are the channels of features, y, ẑ, context and latents (M or Z); h and w are
free; everything is float32 unless it says otherwise. `row`, the rate row, is int64 (1,); `size` is H and W, int64 (2,).

    g_a       pixels uint8 (1, 16h, 16w, 3), row       -> y (1, M, h, w), before rounding
    feedback  pixels, decoded uint8 (1, 16h, 16w, 3): what g_s makes of y, row
                                                       -> what to add to y (1, M, h, w); where the weights have one
    h_a       y (1, M, h, w), row                      -> z (1, Z, ⌈h/4⌉, ⌈w/4⌉), before rounding
    g_s       y (1, M, h, w), row                      -> pixels uint8 (1, 16h, 16w, 3)
    z_start   row, size                                -> reduced (1, Z, H, W), guess_0 … guess_3
    y_start   z (1, Z, h, w), size                     -> reduced (1, P, H, W), guess_0 … guess_3
    z_step_t, y_step_t  (t = 1, 2, 3)
              reduced, values (1, 4·t·n, ⌈H/2⌉, ⌈W/2⌉), guess
                                                       -> params (1, 2N, ⌈H/2⌉, ⌈W/2⌉), as each guess

A guess is the parameters of a pass before any value is known: of ẑ its prior, of ŷ what h_s makes of ẑ.

`g_a`, `h_a` and `g_s` are float networks (model.py). The others are the entropy model (FORMAT.md): each number that
goes in or out is whole, and so small that float32 holds it exactly. In them the 2 × 2 positions (row mod 2, column mod
2) of a latent plane lie one behind the other as *phases*, a plane of ⌈H/2⌉ × ⌈W/2⌉ each; what a phase has beyond row H
or column W means nothing. One pass t = 0 … 3, with n = N / 4:

    params = guess_0 in pass 0, else step_t(reduced, values[:, :t], guess_t)
    params[position, 0, channel] is μ, params[position, 1, channel] level: (4, 2, n, ⌈H/2⌉, ⌈W/2⌉)
    index = clamp((level + 16) >> 5, 0, 63); symbols are coded in the order of params, but for those beyond H, W
    values[position, t, channel] = 64 · symbol + μ: (4, 4, n, ⌈H/2⌉, ⌈W/2⌉)

In the end values[position, t, channel] is that of channel n·GROUP_OF_PASS[t][position] + channel.
`z` of y_start is clamp((ẑ · z_gain[row][channel] + 2¹³) >> 14, ±4095), with ẑ in 1/64: the values of z's four passes.
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
from codec.engine.integer_networks import Context, start_y, start_z
from codec.engine.onnx_builder import FLOAT, INT64, UINT8, Graph, Shape
from codec.weights import Weights

BFLOAT16 = "_bfloat16"  # g_a, feedback and g_s as they are to be evaluated in that precision


def analysis(weights: Weights, bfloat16: bool = False) -> onnx.ModelProto:
    """g_a. bfloat16: its linear shortcut, which must not lose anything, with weights in two parts that it can hold."""
    g, cfg = Graph(weights), weights.config
    pixels, row = g.input("pixels", (1, "16h", "16w", 3), UINT8), g.input("row", (1,), INT64)
    x = g.unshuffled(pixels)
    f = g.blocks(g.pointwise(x, "g_a.stem", 1 / 255), "g_a.before", cfg.enc_blocks // 2)
    f = g.blocks(g.gain(f, "gain_enc", row), "g_a.after", cfg.enc_blocks - cfg.enc_blocks // 2)
    linear = g.gain(g.linear_analysis(x, "g_a.linear", 1 / 255, bfloat16), "gain_y", row)
    y = g.add(g.gain(g.down(f, "g_a.down"), "gain_y", row), linear)
    return g.finish("g_a", y=(y, (1, cfg.latents, "h", "w"), FLOAT))


def feedback(weights: Weights) -> onnx.ModelProto:
    """feedback."""
    g, cfg = Graph(weights), weights.config
    pixels, decoded = (g.input(name, (1, "16h", "16w", 3), UINT8) for name in ("pixels", "decoded"))
    row = g.input("row", (1,), INT64)
    x = g.op("Sub", g.unshuffled(pixels), g.unshuffled(decoded))  # whole, and bfloat16 holds it
    f = g.blocks(g.pointwise(x, "feedback.stem", 1 / 255), "feedback.body", cfg.feedback_blocks)
    y = g.add(g.down(f, "feedback.down"), g.linear_analysis(x, "feedback.linear", 1 / 255))
    y = g.gain(g.gain(y, "gain_y", row), "gain_feedback", row)
    return g.finish("feedback", correction=(y, (1, cfg.latents, "h", "w"), FLOAT))


def hyper_analysis(weights: Weights) -> onnx.ModelProto:
    """h_a."""
    g, cfg = Graph(weights), weights.config
    y, row = g.input("y", (1, cfg.latents, "h", "w")), g.input("row", (1,), INT64)
    x = g.block(g.pointwise(g.times(y, Y_SCALE), "h_a.0"), "h_a.1")
    z = g.down(g.block(g.down(x, "h_a.2"), "h_a.3"), "h_a.4")
    return g.finish("h_a", z=(g.gain(z, "gain_z", row), (1, cfg.hyper, "h_4", "w_4"), FLOAT))


def synthesis(weights: Weights, bfloat16: bool = False) -> onnx.ModelProto:
    """g_s. bfloat16: it takes `y` with its gain undone, in two parts `y_high` + `y_low` that it can hold."""
    g, cfg = Graph(weights), weights.config
    shape, row = (1, cfg.latents, "h", "w"), g.input("row", (1,), INT64)
    if bfloat16:
        y, low = g.input("y_high", shape), g.input("y_low", shape)
        linear = g.linear_synthesis(y, low)
    else:
        y = g.gain(g.input("y", shape), "gain_y_inverse", row)
        linear = g.linear_synthesis(y)
    f = g.upsample(g.pointwise(g.times(y, Y_SCALE), "g_s.up.expand"))
    f = g.gain(g.blocks(f, "g_s.before", cfg.dec_blocks // 2), "gain_dec", row)
    f = g.blocks(f, "g_s.after", cfg.dec_blocks - cfg.dec_blocks // 2)
    x = g.op("Round", g.times(g.add(g.pointwise(f, "g_s.head"), linear), 255))
    x = g.op("Cast", g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(255))), to=UINT8)
    size = g.size(x)
    x = g.op("Transpose", g.reshape(x, 1, 3, 8, 8, size), perm=[0, 4, 2, 5, 3, 1])  # pixel-shuffle, colour last
    x = g.reshape(x, 1, g.op("Mul", size, g.constant(np.array([8]))), 3)
    return g.finish("g_s", pixels=(x, (1, "16h", "16w", 3), UINT8))


def start_of_z(weights: Weights) -> onnx.ModelProto:
    """z_start."""
    g = Graph(weights)
    row, size = g.input("row", (1,), INT64), g.input("size", (2,), INT64)
    return _started(g, "z", *start_z(g, weights.config, row, size))


def start_of_y(weights: Weights) -> onnx.ModelProto:
    """y_start."""
    g = Graph(weights)
    z, size = g.input("z", (1, weights.config.hyper, "h", "w")), g.input("size", (2,), INT64)
    return _started(g, "y", *start_y(g, weights.config, z, size))


def _started(g: Graph, kind: str, reduced: str, parameters: list[str]) -> onnx.ModelProto:
    context = Context(g, kind, g.weights.config)
    outputs: dict[str, tuple[str, Shape, int]] = {"reduced": (reduced, (1, context.width, "H", "W"), FLOAT)}
    for t, before in enumerate(parameters):
        outputs[f"guess_{t}"] = before, (1, 2 * context.channels, "H_2", "W_2"), FLOAT
    return g.finish(f"{kind}_start", **outputs)


def step(weights: Weights, kind: str, t: int) -> onnx.ModelProto:
    """y_step or z_step of pass t."""
    g = Graph(weights)
    context = Context(g, kind, weights.config)
    half, n = ("H_2", "W_2"), context.channels // PASSES
    reduced, values = g.input("reduced", (1, context.width, "H", "W")), g.input("values", (1, 4 * t * n, *half))
    params = context.step(t, reduced, values, g.input("guess", (1, 2 * context.channels, *half)))
    return g.finish(f"{kind}_step_{t}", params=(params, (1, 2 * context.channels, *half), FLOAT))


ENCODER: dict[str, Callable[[Weights], onnx.ModelProto]] = {
    "g_a": analysis,
    "feedback": feedback,
    "h_a": hyper_analysis,
}
DECODER: dict[str, Callable[[Weights], onnx.ModelProto]] = {
    "g_s": synthesis,
    "z_start": start_of_z,
    "y_start": start_of_y,
    **{f"{kind}_step_{t}": partial(step, kind=kind, t=t) for kind in "zy" for t in range(1, PASSES)},
}
IN_BFLOAT16: dict[str, Callable[[Weights], onnx.ModelProto]] = {
    f"g_a{BFLOAT16}": partial(analysis, bfloat16=True),
    f"feedback{BFLOAT16}": feedback,
    f"g_s{BFLOAT16}": partial(synthesis, bfloat16=True),
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
        if name == "feedback" and not weights.config.feedback:
            continue
        (folder / f"{name}.onnx").write_bytes(build(weights).SerializeToString())
    (folder / "manifest.json").write_text(json.dumps(manifest(weights)) + "\n")
