"""What derives from the rows of a run: means, speeds and BD-rates, beside curves that others published."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np

from .metrics import METRICS, bd_rate, scaled


def means(rows: list[dict]) -> dict[str, list]:
    """Dataset means per setting, in the order of rising rate."""
    out: dict[str, list] = {"setting": [], "bpp": []} | {metric: [] for metric in METRICS}
    groups: dict = {}
    for row in rows:
        groups.setdefault(row["setting"], []).append(row)
    for setting, here in sorted(groups.items(), key=lambda item: sum(r["bpp"] for r in item[1])):
        out["setting"].append(setting)
        for key in ("bpp", *METRICS):
            values = [r[key] for r in here if r.get(key) is not None]
            out[key].append(float(np.mean(values)) if values else None)
    return out


def speeds(rows: list[dict]) -> dict:
    """Megapixels a second over all speed rows."""
    pixels = sum(r["megapixels"] for r in rows)
    return {f"{way}_mp_per_s": round(pixels / sum(r[f"{way}_s"] for r in rows), 2) for way in ("encode", "decode")}


def anchor_curves(folder: Path) -> dict[str, dict]:
    """Published results in CompressAI's JSON layout, under this package's names of the metrics."""
    curves = {}
    for path in sorted(folder.glob("*.json")):
        results = json.loads(path.read_text())["results"]
        curve = {"bpp": results["bpp"], "psnr": results.get("psnr-rgb") or results["psnr"]}
        if similarity := results.get("ms-ssim-rgb") or results.get("ms-ssim"):
            curve["ms_ssim"] = similarity
        curves[path.stem] = curve
    return curves


def compare(reference: dict, other: dict, metric: str) -> dict | None:
    """BD-rate in % of `other` against `reference`, and the range; None where the curves do not meet."""
    if None in (reference.get(metric) or [None]) or None in (other.get(metric) or [None]):
        return None
    curves = [(curve["bpp"], scaled(metric, curve[metric])) for curve in (reference, other)]
    percent, low, high = bd_rate(*curves[0], *curves[1])
    return None if np.isnan(percent) else {"percent": round(percent, 2), "range": [round(low, 3), round(high, 3)]}


def per_image(reference: list[dict], other: list[dict], metric: str) -> dict | None:
    """BD-rates picture by picture: their mean and both ends. None where a picture has none."""
    rates = {}
    for image in sorted({r["image"] for r in reference} & {r["image"] for r in other}):
        a, b = (means([r for r in rows if r["image"] == image]) for rows in (reference, other))
        if found := compare(a, b, metric):
            rates[image] = found["percent"]
    if not rates:
        return None
    best, worst = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    mean = round(statistics.mean(rates.values()), 2)
    return {"mean": mean, "best": [best, rates[best]], "worst": [worst, rates[worst]], "pictures": len(rates)}


def bd_rates(codecs: dict[str, dict], published: dict[str, dict]) -> dict[str, dict]:
    """[metric][codec][reference]: every codec against all others and the published curves."""
    tables: dict[str, dict] = {}
    for metric in METRICS:
        for name, codec in codecs.items():
            row = tables.setdefault(metric, {}).setdefault(name, {})
            for other, reference in codecs.items():
                if other != name and (found := compare(reference["mean"], codec["mean"], metric)):
                    row[other] = found | {"per_image": per_image(reference["rows"], codec["rows"], metric)}
            for other, curve in published.items():
                if found := compare(curve, codec["mean"], metric):
                    row[f"published {other}"] = found
    return tables
