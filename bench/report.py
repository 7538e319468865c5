"""A self-contained page from a bench run: RD curves, BD-rates, speed, and pictures side by side at equal bytes.

    python -m bench.report --result results.json --images DIR --out report.html

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

from .codecs import CODECS
from .metrics import bd_rate, psnr

NAMES = {
    "lat": "lat",
    "jpeg": "JPEG 4:4:4",
    "jpeg420": "JPEG 4:2:0",
    "webp": "WebP 4:2:0",
    "avif-s4": "AVIF 4:4:4, speed 4",
    "avif-s6": "AVIF 4:4:4, speed 6",
    "jxl": "JPEG XL",
    "heic": "HEIC 4:4:4",
    "jpeg2000": "JPEG 2000",
    "vvc420": "VVC 4:2:0",
}
COLOURS = ("#e4572e", "#2e86ab", "#7a9e3a", "#9b5de5", "#f3a712", "#1b998b", "#c05299", "#8d6a4f", "#5c7080", "#d7263d")
METRICS = {"psnr": "PSNR of RGB, dB", "ms_ssim": "MS-SSIM, dB"}
RIVALS = ("jpeg420", "webp", "avif-s6", "jxl", "heic")  # offered in the comparison, where installed


def quality(metric: str, values: list) -> list:
    """MS-SSIM on a logarithmic scale, where differences near 1 can be seen."""
    return [-10 * np.log10(1 - v) for v in values] if metric == "ms_ssim" else values


def figure(title: str, x: str, y: str) -> go.Figure:
    fig = go.Figure()
    fig.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, margin={"l": 55, "r": 15, "t": 45, "b": 45}, height=520
    )
    fig.update_layout(legend={"orientation": "h", "y": -0.18}, hovermode="closest", paper_bgcolor="rgba(0,0,0,0)")
    return fig


def rd_figure(result: dict, metric: str) -> go.Figure:
    fig = figure(f"Rate against {METRICS[metric]}", "bits per pixel, whole file", METRICS[metric])
    for (name, codec), colour in zip(result["codecs"].items(), COLOURS):
        mean = codec["mean"]
        line = {"color": colour, "width": 4 if name == "lat" else 2}
        fig.add_scatter(
            x=mean["bpp"], y=quality(metric, mean[metric]), name=NAMES[name], line=line, mode="lines+markers",
            text=[f"setting {s}" for s in mean["setting"]],
        )  # fmt: skip
    fig.update_xaxes(range=[0, 2.2])
    fig.update_yaxes(range=[25, 43] if metric == "psnr" else [7, 24])
    return fig


def bd_table(result: dict) -> list[dict]:
    """lat against every rival, on dataset means, for each metric; negative: lat needs fewer bytes."""
    ours, rows = result["codecs"]["lat"]["mean"], []
    for name, codec in result["codecs"].items():
        if name == "lat":
            continue
        row = {"rival": NAMES[name], "version": codec["version"]}
        for metric in METRICS:
            theirs = codec["mean"]
            percent, low, high = bd_rate(
                theirs["bpp"], quality(metric, theirs[metric]), ours["bpp"], quality(metric, ours[metric])
            )
            row[metric] = {"percent": round(percent, 1), "range": f"{low:.1f} … {high:.1f} dB"}
        rows.append(row | {"encode": codec["encode_mp_per_s"], "decode": codec["decode_mp_per_s"]})
    return rows


def speed_figure(result: dict) -> go.Figure:
    """Decoding speed against BD-rate; the reference is the first JPEG of the run."""
    fig = figure("Speed against bytes", "decoding, MP/s", "BD-rate against JPEG, %")
    reference = next((n for n in ("jpeg", "jpeg420") if n in result["codecs"]), None)
    for (name, codec), colour in zip(result["codecs"].items(), COLOURS):
        table = result["bd_rate_psnr"][name]
        percent = 0 if name == reference else table[reference]["percent"]
        fig.add_scatter(
            x=[codec["decode_mp_per_s"]], y=[percent], name=NAMES[name], mode="markers",
            marker={"size": 14, "color": colour},
        )  # fmt: skip
    fig.update_xaxes(type="log")
    return fig


def at_bytes(codec, image: Image.Image, size: int) -> tuple[Image.Image, int]:
    """The rival's best picture in no more than `size` bytes (else its smallest), by bisection over quality."""
    low, high = 1, 96
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(codec.encode(image, middle)) <= size else (low, middle)
    data = codec.encode(image, low)
    return codec.decode(data), len(data)


def data_url(image: Image.Image) -> str:
    """Carried as WebP of quality 92: close enough to look at, small enough for one page."""
    out = io.BytesIO()
    image.save(out, "WEBP", quality=92, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def comparisons(model: str, files: list[Path], setting: int) -> list[dict]:
    """Per picture: original, lat, and each rival at lat's bytes."""
    codecs, out = {}, []
    for name in ("lat", *RIVALS):
        try:
            codecs[name] = CODECS[name](model)
        except ImportError:
            continue
    for path in files:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        original = np.asarray(image)
        data = codecs["lat"].encode(image, setting)
        shown = {"lat": (codecs["lat"].decode(data), len(data))}
        shown |= {name: at_bytes(codec, image, len(data)) for name, codec in codecs.items() if name != "lat"}
        views = [{"name": "original", "url": data_url(image), "label": "original"}]
        for name, (picture, size) in shown.items():
            label = f"{NAMES[name]} — {size:,} bytes, {psnr(original, np.asarray(picture)):.2f} dB"
            views.append({"name": name, "url": data_url(picture), "label": label})
        out.append({"title": path.name, "width": image.width, "height": image.height, "views": views})
    return out


def table_html(rows: list[dict]) -> str:
    head = "".join(f"<th>{c}</th>" for c in ("lat against", *METRICS.values(), "their encoding", "their decoding"))
    body = ""
    for row in rows:
        cells = "".join(
            f"<td class=number>{row[m]['percent']:+.1f} %<small>{row[m]['range']}</small></td>" for m in METRICS
        )
        cells += "".join(f"<td class=number>{row[k]:.1f} MP/s</td>" for k in ("encode", "decode"))
        body += f"<tr><td>{html.escape(row['rival'])}<small>{html.escape(row['version'])}</small></td>{cells}</tr>"
    return f"<table id=bd><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def page(result: dict, pictures: list[dict]) -> str:
    figures = {f"rd-{m}": rd_figure(result, m) for m in METRICS} | {"speed": speed_figure(result)}
    lat = result["codecs"]["lat"]
    data = {name: json.loads(fig.to_json()) for name, fig in figures.items()}
    count = len({r["image"] for r in lat["rows"]})
    facts = f"{count} pictures, {result['processor']}, {result['threads']} threads. {lat['version']}."
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    slots = {
        "FACTS": html.escape(facts),
        "TABLE": table_html(bd_table(result)),
        "PLOTLY": get_plotlyjs(),
        "FIGURES": json.dumps(data).replace("</", "<\\/"),
        "PICTURES": json.dumps(pictures).replace("</", "<\\/"),
    }
    for slot, text in slots.items():
        template = template.replace(f"@@{slot}@@", text)
    return template


def write(result: dict, files: list[Path], model: str, out: Path, count: int = 3, setting: int = 15) -> None:
    """The page, with `count` of the pictures side by side at the bytes of lat's `setting`."""
    chosen = files[:: max(1, len(files) // count)][:count]
    out.write_text(page(result, comparisons(model, chosen, setting)), encoding="utf-8")
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.option("--result", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--pictures", default=3, show_default=True, help="How many to compare side by side.")
@click.option("--quality", "setting", default=15, show_default=True, help="-q of lat in the comparison.")
@click.option("--model", default="fast-1", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(result: Path, images: Path, pictures: int, setting: int, model: str, out: Path) -> None:
    """Write the page."""
    files = sorted(p for p in images.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    write(json.loads(result.read_text()), files, model, out, pictures, setting)


if __name__ == "__main__":
    main()
