"""The tables of the Markdown pages: a function each, from the committed results to Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from codec.bench.codecs import CODECS, PUBLISHED, Lat
from codec.bench.metrics import IN_TABLES
from codec.bench.report import label as name_in_tables

from .judges import RANGES, RATES
from .panel import JUDGES, LOOK

RESULTS = Path(__file__).parent / "results"
RIVALS = {name: codec.label for name, codec in CODECS.items() if not issubclass(codec, Lat)}
RIVALS |= {f"published {name}": label for name, label in PUBLISHED.items()}


@cache
def result(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """In Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def percent(rate: dict | None) -> str:
    return f"{rate['percent']:+.1f} %" if rate else "–"


def rates(ours: str) -> str:
    """BD-rates of one of our codecs against every rival, by each metric."""
    by_metric = result("kodak")["bd_rate"]
    found = {metric: by_metric.get(metric, {}).get(ours, {}) for metric in IN_TABLES}
    rows = []
    for name, label in RIVALS.items():
        if rate := found["psnr"].get(name):
            low, high = rate["range"]
            rows.append([label, *(percent(found[m].get(name)) for m in IN_TABLES), f"{low:.1f} … {high:.1f} dB"])
    return table(["against", *(metric.label for metric in IN_TABLES.values()), "PSNR over"], rows)


def headline() -> str:
    """What a visitor wants to know first."""
    by_metric, rows = result("kodak")["bd_rate"], []
    for name in ("jpeg420", "webp", "avif-s6", "jxl"):
        looks, pixels = by_metric["ssimulacra2"]["lat"].get(name), by_metric["psnr"]["lat-psnr"].get(name)
        rows.append([f"bytes against {RIVALS[name]}", percent(looks), percent(pixels)])
    fastest = min(large_rows(), key=lambda row: row["decode_s"])
    speed = " / ".join(f"{fastest['megapixels'] / fastest[f'{way}_s']:.1f}" for way in ("encode", "decode"))
    rows.append(["MP/s on two cores, compress / decompress", speed, speed])
    rows.append(["a file of today opens", *["with every later 1.y"] * 2])
    return table(["Kodak, 24 pictures", "by SSIMULACRA 2", "`--tune psnr`, by PSNR"], rows)


def large_rows() -> list[dict]:
    """Timings of the small network on the large picture, on a machine that does nothing else."""
    rows = [r for r in result("engines")["idle"] if r["weights"].startswith("fast") and r["processor"] != "as AVX2"]
    return [r for r in rows if 1 < r["megapixels"] < 50 and r["threads"] > 1]


def engines() -> str:
    """Every row of `bench.engines`."""
    measured, rows = result("engines"), []
    for state in ("idle", "busy"):
        for r in measured.get(state, []):
            rates = [f"{r['megapixels'] / r[f'{way}_s']:.2f}" for way in ("encode", "decode")]
            size, engine = (
                f"{r['megapixels']:.3g} MP",
                r["engine"] + (", as AVX2" if r["processor"] == "as AVX2" else ""),
            )
            what = [state, engine, r["weights"], size, str(r["threads"])]
            rows.append([*what, *rates, f"{r['first_decode_s']:.2f}", str(r["peak_mb"])])
    units = ["encode, MP/s", "decode, MP/s", "first decode, s", "peak, MB"]
    head = ["machine", "engine", "weights", "picture", "threads", *units]
    return table(head, rows)


def qualities() -> str:
    """What `-q` gives on Kodak, on average."""
    curves, rows = {name: result("kodak")["codecs"][name]["mean"] for name in ("lat", "lat-best")}, []
    for i, setting in sorted(enumerate(curves["lat"]["setting"]), key=lambda at: at[1]):
        row = [f"`-q {setting}`"]
        for mean in curves.values():
            row += [f"{mean['bpp'][i]:.2f}", f"{mean['ssimulacra2'][i]:.1f}", f"{mean['psnr'][i]:.1f} dB"]
        rows.append(row)
    columns = ("bits a pixel", "SSIMULACRA 2", "PSNR")
    return table(["", *(f"{name}, {column}" for name in ("fast", "best") for column in columns)], rows)


def judged(pictures: str) -> list[tuple[str, dict]]:
    """(label, entry) of each codec that the panel has judged on a set of pictures."""
    found = result("judges").get("sets", {}).get(pictures, {"codecs": {}})["codecs"]
    return [(name_in_tables(name), entry) for name, entry in found.items()]


def rate_in(entry: dict, judge: str, i: int) -> str:
    """A codec's BD-rate in the i-th of RANGES, in %; in brackets where its weights were trained on that judge."""
    rate = entry["bd_rate"].get(judge, [None] * len(RANGES))[i]
    text = "–" if rate is None else f"{rate:+.0f}"
    return f"({text})" if judge in entry["trained_on"] else text


def judges(pictures: str) -> str:
    """BD-rates against the reference by every judge of the panel."""
    codecs, rows = [(label, entry) for label, entry in judged(pictures) if "bd_rate" in entry], []
    for i, (low, high) in enumerate(RANGES):
        rows += [[f"{low:g} … {high:g}", label, *(rate_in(e, judge, i) for judge in JUDGES)] for label, e in codecs]
    return table(["bpp", "bytes against AVIF, %", *(judge.label for judge in JUDGES.values())], rows)


def untrained(pictures: str) -> str:
    """Median and worst BD-rate by the judges that nothing was trained on."""
    rows = []
    for label, entry in judged(pictures):
        if found := entry.get("untrained"):
            words = (f"{f['median']:+.0f}, {f['worst']:+.0f} ({JUDGES[f['judge']].label})" if f else "–" for f in found)
            rows.append([label, ", ".join(JUDGES[n].label for n in entry["trained_on"]) or "–", *words])
    return table(["median and worst, %", "trained on", *(f"{a:g} … {b:g} bpp" for a, b in RANGES)], rows)


def looks(pictures: str) -> str:
    """Look judges: BD-rates by Wasserstein distortion in each range, and the fine contrast kept at some rates."""
    measures, rows = [name for name in LOOK if name != "contrast"], []
    for label, entry in judged(pictures):
        rates = (rate_in(entry, m, i) if "bd_rate" in entry else "0" for m in measures for i in range(len(RANGES)))
        rows.append([label, *rates, *(f"{kept:.2f}" for kept in entry.get("contrast_kept", ()))])
    heads = [f"{LOOK[name].label}, {a:g} … {b:g} bpp, %" for name in measures for a, b in RANGES]
    return table(["", *heads, *(f"contrast at {rate:g} bpp" for rate in RATES)], rows)


def ranges() -> str:
    """Everything against published JPEG, over fixed ranges of PSNR."""
    measured = result("ranges")
    names = [n for n in measured["curves"] if n.startswith("lat")] + [n for n in RIVALS if n.startswith("published")]
    rows = []
    for name in names:
        if name != measured["against"]:
            cells = ["–" if p is None else f"{p:+.1f} %" for p in measured["curves"][name]]
            rows.append([RIVALS.get(name, name), *cells])
    return table(["against JPEG, published", *(f"{low:g} … {high:g} dB" for low, high in measured["psnr"])], rows)


def efforts() -> str:
    settings = result("effort")["settings"]
    rows = [
        [f"BD-rate by {metric.label}, against 3", *(f"{e[f'bd_rate_{m}_percent']:+.1f} %" for e in settings.values())]
        for m, metric in IN_TABLES.items()
        if all(f"bd_rate_{m}_percent" in e for e in settings.values())
    ]
    rows.append(["seconds a picture", *(f"{e['seconds_a_picture']:.2g}" for e in settings.values())])
    return table(["`-e`", *(name.replace(" ", " --tune ") for name in settings)], rows)


def targets() -> str:
    measured = result("targets")
    rows = []
    for kind, missed in (("size", "exceeded"), ("psnr", "undershot")):
        m = measured[kind]
        close = m["within_3_percent"] if kind == "size" else m["within_0.1_db"]
        rows.append(
            [kind, str(m["of"]), str(m[missed]), str(close), f"{m['mean_encodes']:.1f}", str(m["most_encodes"])]
        )
    return table(["target", "tried", "missed", "within 3 % or 0.1 dB", "encodes, mean", "at most"], rows)


def graphics() -> str:
    """Kilobytes, and of what is lossy SSIMULACRA 2."""

    def shown(entry: dict | None) -> str:
        if entry is None:
            return "–"
        size = f"{entry['bytes'] / 1000:.1f}"
        return size if entry.get("lossless") else f"{size} ({entry['ssimulacra2']:.0f})"

    columns = {
        "PNG": ("others", "png"),
        "WebP, lossless": ("others", "webp lossless"),
        "JPEG XL, lossless": ("others", "jxl lossless"),
        "`lat --lossless`": ("lat", "lossless"),
        "`lat -q 50`": ("lat", "q50"),
        "`lat -q 90`": ("lat", "q90"),
        "AVIF, 80": ("others", "avif 80"),
        "JPEG XL, 90": ("others", "jxl 90"),
    }
    rows = [
        [name, *(shown(picture[side].get(key)) for side, key in columns.values())]
        for name, picture in result("graphics")["pictures"].items()
    ]
    return table(["kB (SSIMULACRA 2)", *columns], rows)


def situations() -> str:
    found = result("situations")["rows"]
    tools = list(next(iter(found.values())))
    return table(["", *tools], ([name, *(row[tool] for tool in tools)] for name, row in found.items()))


def restored() -> str:
    rows = []
    for task, found in result("restore")["tasks"].items():
        seconds = found["processor_seconds_a_megapixel"]
        for method, gain in found["gain_on"].items():
            rows.append(
                [task, method, f"{gain['mean']:+.2f} dB", f"{gain['least']:+.2f} dB", str(gain["pictures"]),
                 f"{seconds['lat']:.0f}", f"{seconds[method]:.0f}"]
            )  # fmt: skip
    return table(["task", "against", "mean", "least", "pictures", "s/MP", "its s/MP"], rows)


def surfaces() -> str:
    rows = []
    for kind, methods in result("anomaly")["magnetic tiles"]["auroc"].items():
        rows += [
            [kind, method, *(f"{v[k]:.2f}" for k in ("image_auroc", "pixel_auroc"))] for method, v in methods.items()
        ]
    return table(["defect", "method", "whole pictures", "pixels"], rows)


def holes() -> str:
    by_side = result("fill")["mean_psnr_in_hole"]
    methods = next(iter(by_side.values()))
    return table(
        ["holes of", *methods], [[f"{s} pixels", *(f"{v[m]:.1f}" for m in methods)] for s, v in by_side.items()]
    )


def grid() -> str:
    return table(["made up", "ratio"], ([kind, f"{ratio:.2f}"] for kind, ratio in result("fill")["grid"].items()))


def directions() -> str:
    found = result("edit")["directions"]
    return table(["direction", "part"], ([name, f"{values['monotone']:.0%}"] for name, values in found.items()))


def samples() -> str:
    found = result("sample")
    rows = []
    for q, of in [*found["by_quality"].items(), ("", found["photographs"])]:
        bits = f"{of['file_bits_over_entropy']:.3f}" if q else "–"
        rows.append([f"`-q {q}`" if q else "photographs", bits, f"{of['spectrum_slope']:.1f}", f"{of['colour']:.0f}"])
    return table(["samples", "file bits over entropy", "slope of the spectrum", "colour, grey levels"], rows)


def exactness() -> str:
    rows = [[f"`-q {q}`", f"{found['percent']:+.2f} %"] for q, found in result("exactness")["by_quality"].items()]
    return table(["quality", "bytes of files against the float estimate"], rows)


def seams() -> str:
    found = result("seams")["by_quality"]
    return table(["quality", "lost by tiles"], ([f"`-q {q}`", f"{row['seam_db']:+.3f} dB"] for q, row in found.items()))


def published() -> str:
    rows = []
    for name, found in result("published").items():
        if "published" in found:
            differences = found["db"]
            mean = sum(differences) / len(differences)
            span = f"{min(differences):+.2f} … {max(differences):+.2f} dB"
            rows.append([CODECS[name].label, found["published"], f"{mean:+.2f} dB", span])
    return table(["measured here", "published curve", "mean difference in PSNR", "range"], rows)
