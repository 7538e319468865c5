"""A self-contained page from a bench run: RD curves, BD-rates, speed, and pictures side by side at equal bytes.

    python -m bench report --result results.json --images DIR --out report.html

No network is needed to read it: the plotting library and the pictures lie inside.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

import click
import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.offline import get_plotlyjs

from codec.weights import DEFAULT

from .base import GREY, Codec
from .codecs import CODECS, PUBLISHED
from .metrics import METRICS, psnr, scaled
from .photos import pictures, spread

LEADING = next(iter(METRICS))  # the metric of the headline
OURS = ("lat-best", "lat")


def label(name: str) -> str:
    return CODECS[name].label if name in CODECS else name


def colour(name: str) -> str:
    return CODECS[name].colour if name in CODECS else GREY


def figure(x: str, y: str) -> go.Figure:
    fig = go.Figure()
    fig.update_layout(xaxis_title=x, yaxis_title=y, margin={"l": 55, "r": 12, "t": 12, "b": 45}, height=540)
    fig.update_layout(legend={"orientation": "h", "y": -0.16}, hovermode="closest", paper_bgcolor="rgba(0,0,0,0)")
    return fig


def rd_figure(result: dict, metric: str) -> go.Figure:
    """Dataset means of every codec; those published beside them, dotted."""
    fig = figure("bits per pixel, whole file", METRICS[metric].axis)
    order = sorted(result["codecs"], key=lambda name: name in OURS)  # drawn last, it lies on top
    for name in order:
        mean = result["codecs"][name]["mean"]
        if None in mean.get(metric, [None]):
            continue
        fig.add_scatter(
            x=mean["bpp"], y=scaled(metric, mean[metric]), name=label(name), mode="lines+markers",
            line={"color": colour(name), "width": 4 if name in OURS else 1.8}, marker={"size": 5},
            text=[f"setting {s}" for s in mean["setting"]],
        )  # fmt: skip
    for name, shown in PUBLISHED.items():
        curve = result.get("published", {}).get(name, {})
        if metric in curve:
            fig.add_scatter(
                x=curve["bpp"], y=scaled(metric, curve[metric]), name=shown, mode="lines",
                line={"dash": "dot", "width": 1.5, "color": GREY}, visible="legendonly",
            )  # fmt: skip
    fig.update_xaxes(range=[0, 2.2])
    fig.update_yaxes(range=METRICS[metric].range)
    return fig


def jpeg_of(result: dict) -> str | None:
    return next((name for name in ("jpeg", "jpeg420") if name in result["codecs"]), None)


def against_jpeg(result: dict, metric: str) -> dict[str, float]:
    """BD-rate against the run's JPEG, in %, for every codec that has one; 0 for JPEG."""
    reference = jpeg_of(result)
    rates = {name: rows.get(reference) for name, rows in result["bd_rate"].get(metric, {}).items()}
    return {n: 0.0 if n == reference else rates[n]["percent"] for n in rates if n == reference or rates[n]}


def bytes_figure(result: dict, metric: str) -> go.Figure:
    """How many bytes each codec takes for what takes JPEG 100."""
    sizes = dict(sorted(((n, 100 + v) for n, v in against_jpeg(result, metric).items()), key=lambda item: -item[1]))
    fig = figure(f"bytes at equal {METRICS[metric].axis}; JPEG = 100", "")
    fig.add_bar(
        x=list(sizes.values()), y=[label(n) for n in sizes], orientation="h", cliponaxis=False,
        marker={"color": [colour(n) if n in OURS else "#9aa3ad" for n in sizes]},
        text=[f"{v:.0f}" for v in sizes.values()], textposition="outside",
    )  # fmt: skip
    fig.update_layout(height=90 + 34 * len(sizes), showlegend=False)
    fig.update_xaxes(range=[0, 1.08 * max(sizes.values(), default=100)])
    fig.update_yaxes(automargin=True)
    return fig


def speed_figure(result: dict) -> go.Figure:
    """Speed against BD-rate: a filled mark for decoding, a hollow one for encoding, joined."""
    fig = figure("MP/s: hollow to encode, filled to decode", f"BD-rate by {METRICS[LEADING].axis} against JPEG, %")
    for name, percent in against_jpeg(result, LEADING).items():
        codec = result["codecs"][name]
        if "encode_mp_per_s" in codec:
            fig.add_scatter(
                x=[codec["encode_mp_per_s"], codec["decode_mp_per_s"]], y=[percent] * 2, name=label(name),
                mode="lines+markers", line={"color": colour(name), "width": 1.5},
                marker={"size": 12, "symbol": ["circle-open", "circle"], "color": colour(name)},
            )  # fmt: skip
    fig.update_xaxes(type="log", dtick=1)
    return fig


def bd_table(result: dict) -> str:
    """lat against every rival in each metric; negative: lat needs fewer bytes."""
    used = [m for m in METRICS if result["bd_rate"].get(m, {}).get("lat")]
    columns = [METRICS[m].axis for m in used]
    columns += ["encodes", "decodes", "memory"]
    head = "".join(f"<th>{c}</th>" for c in ("lat against", *columns))
    body = ""
    for name, codec in result["codecs"].items():
        if name == "lat":
            body += "<tr class=ours><td>lat itself</td>" + "<td>–</td>" * len(used)
        else:
            body += f"<tr><td>{html.escape(label(name))}<small>{html.escape(codec['version'])}</small></td>"
            for metric in used:
                rate = result["bd_rate"][metric]["lat"].get(name)
                if not rate:
                    body += "<td>–</td>"
                    continue
                low, high = rate["range"]
                sign = "good" if rate["percent"] < 0 else "bad"
                small = f"{low:.1f} … {high:.1f}"
                each = rate["per_image"]
                if each and each["pictures"] > 1:
                    small += f"<br>per picture {each['best'][1]:+.0f} … {each['worst'][1]:+.0f} %"
                body += f"<td class='number {sign}'>{rate['percent']:+.1f} %<small>{small}</small></td>"
        for way in ("encode", "decode"):
            speed = codec.get(f"{way}_mp_per_s")
            body += f"<td class=number>{speed:.3g} MP/s</td>" if speed else "<td>–</td>"
        memory = codec.get("memory", {})
        peak = max((memory.get(f"{way}_mb") or 0 for way in ("encode", "decode")), default=0)
        body += f"<td class=number>{peak:.0f} MB</td></tr>" if peak else "<td>–</td></tr>"
    return f"<table id=bd><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def at_bytes(codec: Codec, image: Image.Image, size: int) -> bytes:
    """The rival's file of the highest quality in no more than `size` bytes (else its smallest), by bisection."""
    low, high = 1, 96
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(codec.encode(image, middle)) <= size else (low, middle)
    return codec.encode(image, low)


def data_url(image: Image.Image) -> str:
    """The picture as lossless WebP."""
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True, quality=40, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def comparisons(model: str, files: list[Path], setting: int) -> list[dict]:
    """Per picture: original, lat, and each rival at lat's bytes; formats that browsers show as the file itself."""
    codecs: dict[str, Codec] = {}
    out = []
    for name, kind in CODECS.items():
        if not kind.compared:
            continue
        try:
            codecs[name] = kind(model)
        except ImportError:
            continue
    for path in files:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        original, size = np.asarray(image), 0
        views = [{"name": "original", "url": data_url(image), "label": "original"}]
        for name, codec in codecs.items():
            data = codec.encode(image, setting) if name == "lat" else at_bytes(codec, image, size)
            size = size or len(data)
            picture = codec.decode(data)
            text = f"{label(name)} — {len(data):,} bytes, {psnr(original, np.asarray(picture)):.2f} dB"
            shown = f"data:image/{codec.suffix};base64," + base64.b64encode(data).decode() if codec.suffix else None
            views.append({"name": label(name), "url": shown or data_url(picture), "label": text})
        out.append({"title": path.name, "width": image.width, "height": image.height, "views": views})
    return out


def script_json(value: object) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("</", "<\\/")


def page(result: dict, pictures: list[dict]) -> str:
    figures = {f"rd-{m}": rd_figure(result, m) for m in METRICS}
    headline = ""
    if jpeg_of(result):
        figures |= {f"bytes-{m}": bytes_figure(result, m) for m in METRICS} | {"speed": speed_figure(result)}
        if (saved := against_jpeg(result, LEADING).get("lat")) is not None:
            headline = f"{abs(saved):.0f} % {'fewer' if saved < 0 else 'more'} bytes than JPEG at the same look"
    lat = result["codecs"]["lat"]
    count = len({r["image"] for r in lat["rows"]})
    facts = f"{count} pictures; {lat['version']}."
    if "processor" in result:
        facts += f" Timed on {result['processor']}, {result['threads']} threads."
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    slots = {
        "HEADLINE": html.escape(headline),
        "FACTS": html.escape(facts),
        "TABLE": bd_table(result),
        "PLOTLY": get_plotlyjs(),
        "METRICS": script_json({name: metric.axis for name, metric in METRICS.items()}),
        "FIGURES": script_json({name: json.loads(fig.to_json()) for name, fig in figures.items()}),
        "PICTURES": script_json(pictures),
    }
    for slot, text in slots.items():
        template = template.replace(f"@@{slot}@@", text)
    return template


def write(result: dict, files: dict[str, Path], model: str, out: Path, count: int = 3, setting: int = 15) -> None:
    """The page, with `count` of the pictures side by side at the bytes of lat's `setting`."""
    if "lat" not in result["codecs"]:
        raise click.ClickException("a page needs rows of lat: add it to --codecs")
    shown = comparisons(model, spread(list(files.values()), count), setting)
    out.write_text(page(result, shown), encoding="utf-8")
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.option("--result", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--images", type=click.Path(exists=True, path_type=Path), help="As in the run.")
@click.option("--pictures", "count", default=3, show_default=True, help="How many to compare side by side.")
@click.option("--quality", "setting", default=15, show_default=True, help="-q of lat in the comparison.")
@click.option("-m", "--model", default=DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(result: Path, images: Path | None, count: int, setting: int, model: str, out: Path) -> None:
    """Write the page of a run that was made before."""
    write(json.loads(result.read_text()), pictures(images), model, out, count, setting)


if __name__ == "__main__":
    main()
