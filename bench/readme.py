"""Write the figures of README.md and BULK.md from the committed results, between their marks.

python -m bench.readme
"""

# ruff: noqa: E501  the templates are lines of the README

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
START, END = "<!-- figures, written by bench/readme.py -->\n", "<!-- end of figures -->\n"
RIVALS = {
    "jpeg": "JPEG 4:4:4 (Pillow)",
    "jpeg420": "JPEG 4:2:0 (Pillow)",
    "jpegli": "JPEG by jpegli",
    "webp": "WebP",
    "jpeg2000": "JPEG 2000",
    "jxl": "JPEG XL, effort 7",
    "avif-s6": "AVIF 4:4:4, speed 6",
    "avif-s4": "AVIF 4:4:4, speed 4",
    "avif-psnr": "AVIF 4:4:4, speed 4, tuned for PSNR",
    "heic": "HEIC 4:4:4 (x265)",
    "heic-psnr": "HEIC 4:4:4, tuned for PSNR",
    "vvc420": "VVC 4:2:0 (vvenc)",
    "published jpeg": "JPEG, published",
    "published bpg_444_x265_ycbcr": "BPG 4:4:4, published",
    "published compressai-mbt2018-mean_mse_cuda": "mbt2018-mean, published",
    "published vtm": "VVC 4:4:4 (VTM), published",
}


def result(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def percent(rate: dict | None) -> str:
    return f"{rate['percent']:+.1f} %" if rate else "–"


def rates(kodak: dict) -> str:
    tables = {metric: kodak["bd_rate"][metric]["lat"] for metric in ("psnr", "ms_ssim", "ssimulacra2")}
    best = kodak["bd_rate"]["psnr"]["lat-best"]
    lines = ["| lat against | PSNR | over | MS-SSIM | SSIMULACRA 2 | `-m best`, PSNR |", "|---|---|---|---|---|---|"]
    for name, shown in RIVALS.items():
        if rate := tables["psnr"].get(name):
            low, high = rate["range"]
            others = " | ".join(percent(tables[m].get(name)) for m in ("ms_ssim", "ssimulacra2"))
            lines.append(
                f"| {shown} | {percent(rate)} | {low:.1f} … {high:.1f} dB | {others} | {percent(best.get(name))} |"
            )
    return "\n".join(lines)


def over_ranges(ranges: dict) -> str:
    """lat and the published curves against one of these, over fixed ranges of PSNR."""
    against, shown = ranges["against"], {"lat": "lat", "lat-best": "lat, `-m best`"}
    shown |= {name: label for name, label in RIVALS.items() if "published" in name and name != against}
    heads = [f"{low:g} … {high:g} dB" for low, high in ranges["psnr"]]
    lines = [f"| against {RIVALS[against]} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, label in shown.items():
        cells = ["–" if p is None else f"{p:+.1f} %" for p in ranges["curves"][name]]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speeds(speed: dict) -> str:
    sizes = sorted({round(r["megapixels"], 1) for r in speed["rows"]})
    most = max(r["threads"] for r in speed["rows"])
    codecs = list(dict.fromkeys(r["codec"] for r in speed["rows"]))
    lines = [
        "| MP/s, encode / decode | " + " | ".join(f"{s:g} MP" for s in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for codec in codecs:
        cells = []
        for size in sizes:
            rows = [r for r in speed["rows"] if r["codec"] == codec and round(r["megapixels"], 1) == size]
            rows = [r for r in rows if r["threads"] == most]
            mp = rows[0]["megapixels"] if rows else 0
            cells.append(f"{mp / rows[0]['encode_s']:.3g} / {mp / rows[0]['decode_s']:.3g}" if rows else "–")
        lines.append(f"| {codec} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def earlier_weights(speed: dict, newest: dict[str, str]) -> str:
    """Which weights were timed that have been followed by others with one small network more."""
    timed = {r["codec"].removeprefix("lat ") for r in speed["rows"] if r["codec"].startswith("lat ")}
    pairs = [(old, new) for old in sorted(timed) for size, new in newest.items() if old.startswith(size) and old != new]
    return "".join(
        f" {old} was timed: {new} has the same layers and z's context model, 0.05 kMAC/px more." for old, new in pairs
    )


def threads(speed: dict) -> str:
    rows = [r for r in speed["rows"] if r["codec"].startswith("lat fast-") and 2 < r["megapixels"] < 4]
    parts = [
        f"{r['megapixels'] / r['encode_s']:.1f} / {r['megapixels'] / r['decode_s']:.1f} MP/s with {r['threads']}"
        for r in rows
    ]
    return ", ".join(parts)


def efforts(effort: dict) -> str:
    settings = effort["settings"]
    shown = [name.replace(" ", " --tune ") for name in settings]
    lines = ["| `-e` | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for metric, label in (("psnr", "PSNR"), ("ms_ssim", "MS-SSIM")):
        cells = [f"{entry[f'bd_rate_{metric}_percent']:+.1f} %" for entry in settings.values()]
        lines.append(f"| BD-rate by {label} against 3 | " + " | ".join(cells) + " |")
    lines.append("| s a picture | " + " | ".join(f"{e['seconds_a_picture']:.2g}" for e in settings.values()) + " |")
    return "\n".join(lines)


def larger_efforts(effort: dict, smaller: dict) -> str:
    """The larger network's, in a sentence, beside the smaller one's on the same pictures."""
    parts = []
    for name, entry in effort["settings"].items():
        if name in smaller["settings"] and name != "3":
            percents = [f"{e['bd_rate_psnr_percent']:+.1f} %" for e in (entry, smaller["settings"][name])]
            parts.append(f"{percents[0]} at `-e {name}` ({smaller['weights']}: {percents[1]})")
    return f"on {effort['pictures']} of them with {effort['weights']} {', '.join(parts)}"


def others(pictures: dict) -> str:
    parts = [
        f"{name} {p['q95']['psnr']:.1f} dB at {p['q95']['bpp']:.1f} bits per pixel" for name, p in pictures.items()
    ]
    return ", ".join(parts)


def bulk() -> str:
    """The table of BULK.md."""
    measured = result("bulk")
    lines = ["| engine | workers | MP/s | MP/s a worker, while it codes |", "|---|---|---|---|"]
    for run in measured["runs"]:
        each = run["mp_per_second_a_worker_while_coding"]
        lines.append(f"| {run['engine']} | {run['workers']} | {run['mp_per_second']:.2f} | {each:.2f} |")
    first = measured["runs"][0]
    return f"""
{chr(10).join(lines)}

({first["pictures"]} photographs of {first["megapixels"] / first["pictures"]:.2f} MP, {measured["cores"]} cores of an {measured["processor"]}, start-up included; `python -m bench.bulk`.)
"""


def figures() -> str:
    kodak, speed, exactness, seams, large = map(result, ("kodak", "speed", "exactness", "seams", "large-100"))
    effort, targets, published, graphics = map(result, ("effort", "targets", "published", "graphics"))
    larger, best = result("effort-best"), kodak["codecs"]["lat-best"]
    newest = {s: kodak["codecs"][c]["version"].split(", ")[1] for s, c in (("fast", "lat"), ("best", "lat-best"))}
    kept, met = targets["size"], targets["psnr"]
    off = {k: max(map(abs, published[k]["db"])) for k in ("jpeg defaults", "webp defaults")}
    lat = kodak["codecs"]["lat"]["mean"]
    name = newest["fast"]
    start, whole = speed["start_up"], speed["processes_12mp"]
    begin = {k: max(0.0, start[f"{k}_1x1_s"] - start["import_torch_s"]) for k in ("compress", "decompress")}
    seam = max(v["seam_db"] for v in seams["by_quality"].values())
    big = {
        k: f"{large[k]['seconds']:.0f} s and {large[k]['peak_mb'] / 1000:.1f} GB" for k in ("compress", "decompress")
    }
    return f"""
Kodak, 24 pictures, whole files; weights `{name}`, one network for all rates, default settings. Negative: fewer bytes than
the rival at the same quality (BD-rate).

![rate-distortion on Kodak](bench/results/kodak-rd.png)

{rates(kodak)}

`-q 0 … 100` spans {lat["bpp"][0]:.2f} … {lat["bpp"][-1]:.2f} bits per pixel and {lat["psnr"][0]:.1f} … {lat["psnr"][-1]:.1f} dB on the mean,
with `-m best` ({newest["best"]}, the same network larger) {best["mean"]["bpp"][0]:.2f} … {best["mean"]["bpp"][-1]:.2f} and {best["mean"]["psnr"][0]:.1f} … {best["mean"]["psnr"][-1]:.1f} dB.
BD-rate depends on the range that two curves have in common; over fixed ranges of PSNR:

{over_ranges(result("ranges"))}

lat is trained for PSNR; rivals that their makers tune for the eye do better by the other two measures. The page of this
run, with curves, per-picture spread, speeds and pictures side by side: [bench/results/kodak.html](bench/results/kodak.html) (download it to
look at it). Files, header included, take {exactness["total_percent"]:+.2f} % against what the float networks estimate by their Gaussians: the
whole-number entropy path costs some, tables counted on photographs give more back. Within 8 pixels of tile borders, tiles cost {seam:+.3f} dB at most (256-pixel tiles; the default is 1024).

Our rivals measure what others published: Pillow's defaults lie within {off["jpeg defaults"]:.2f} dB (JPEG) and {off["webp defaults"]:.2f} dB (WebP) of
CompressAI's curves at equal rate. Optimised Huffman tables make the JPEG above better than that curve at low rates; AVIF and
HEIC at their encoders' defaults are tuned for the eye and lie below the published ones in PSNR, so both are there tuned for PSNR too.

{speeds(speed)}

(Two threads, {speed["processor"]}), in memory, mosaics of Kodak; mbt2018-mean is CompressAI's, and takes pictures whole.{earlier_weights(speed, newest)} lat at
3 MP: {threads(speed)} threads. Whole processes: a 12 MP JPEG to `.lat` in {whole["compress_s"]:.1f} s and back to PNG in
{whole["decompress_s"]:.1f} s; 100 MP in {big["compress"]}, back in {big["decompress"]}; a 1×1 picture takes {begin["compress"]:.2f} and
{begin["decompress"]:.2f} s beyond `import torch`.

{efforts(effort)}

({effort["pictures"]} Kodak pictures; seconds on {effort.get("seconds_on", "all of them")}, {effort["threads"]} threads; {larger_efforts(larger, result("effort-3"))}.) Targets, {kept["of"]} sizes and {met["of"]} PSNRs on Kodak: size exceeded {kept["exceeded"]} times, used to
97 % or more {kept["within_3_percent"]} times, {kept["mean_encodes"]:.1f} encodes on the mean, {kept["most_encodes"]} at most; PSNR undershot {met["undershot"]} times, within 0.1 dB {met["within_0.1_db"]} times,
{met["mean_encodes"]:.1f} encodes, {met["most_encodes"]} at most; {met["impossible"]} wishes for PSNR were beyond `-q 100`, which was said.

What is no colour photograph, at `-q 95`: {others(graphics["pictures"])}.

Every figure comes from a command and its JSON in [bench/results](bench/results): `lat bench --images KODAK --anchors CURVES`,
`python -m bench.ranges`, `bench.speed`, `bench.exactness`, `bench.effort`, `bench.targets`, `bench.everyday`, `bench.bulk`, `bench.latents`, `bench.anomalies`, `bench.similarity`. `lat bench --quick
--html report.html` measures on your machine, with photographs that scikit-image carries, against what is installed, and writes
a page. What was tried is in [bench/EXPERIMENTS.md](bench/EXPERIMENTS.md).
"""


def latents() -> str:
    sample, fill, edit, anomaly, similar = map(result, ("sample", "fill", "edit", "anomaly", "similar"))
    ratio = [abs(v["file_bits_over_entropy"] - 1) for v in sample["by_quality"].values()]
    slopes = [v["spectrum_slope"] for v in sample["by_quality"].values()]
    holes = fill["mean_psnr_in_hole"]
    monotone = {k: v["monotone"] for k, v in edit["directions"].items()}
    pixel = anomaly["synthetic"]["pixel_auroc"]
    lines = ["| pixel AUROC | " + " | ".join(pixel["camera"]) + " |", "|---" * (len(pixel["camera"]) + 1) + "|"]
    for setting, method, shown in (
        ("camera", "distance", "distance from 8 shots of the scene"),
        ("camera", "pixel PCA", "pixel PCA, the same shots"),
        ("camera", "local variance", "local variance, the same shots"),
        ("alone", "surprise", "surprise, no reference"),
        ("alone", "pixel PCA", "pixel PCA of the picture itself"),
        ("alone", "local variance", "local variance"),
    ):
        lines.append(f"| {shown} | " + " | ".join(f"{t[method]:.3f}" for t in pixel[setting].values()) + " |")
    tiles = anomaly["magnetic tiles"]
    found = {k: similar[k]["at the threshold"] for k in ("recompressed", "halved", "cropped")}
    best = "OpenCV Navier-Stokes"
    return f"""
![what lat latent does](bench/results/gallery.png)

- **sample**: files of samples take {100 * max(ratio):.1f} % more or fewer bits than the model's own entropy, at most. Their spectrum falls with
  {min(slopes):.1f} … {max(slopes):.1f} (photographs {sample["photographs"]["spectrum_slope"]:.1f}): they are softer than photographs. Texture and light, no objects.
- **fill**: PSNR in holes of 16 pixels {holes["16"]["lat"]:.1f} dB (mean of the surroundings {holes["16"]["mean of the surroundings"]:.1f}, OpenCV {holes["16"][best]:.1f}), of 32 pixels
  {holes["32"]["lat"]:.1f} dB ({holes["32"]["mean of the surroundings"]:.1f}, {holes["32"][best]:.1f}): OpenCV's inpainting is better, and for pixels alone it is what to use.
- **edit**: the intended attribute moves with strength in this part of {edit["photographs"]} photographs: {", ".join(f"{k} {100 * v:.0f} %" for k, v in monotone.items())}.
- **similar**: among {similar["photographs"]} photographs, recall / precision {found["recompressed"]["recall"]:.3f} / {found["recompressed"]["precision"]:.3f} for recompressed copies,
  {found["halved"]["recall"]:.3f} / {found["halved"]["precision"]:.3f} for copies of half the size, {found["cropped"]["recall"]:.3f} / {found["cropped"]["precision"]:.3f} cropped to 90 %; {similar["times_faster"]:.1f} times faster than
  decoding and hashing pixels.
- **anomaly**, synthetic defects in {anomaly["photographs"]} photographs:

{chr(10).join(lines)}

  Without a reference, stains and foreign patches are beyond it: a photograph may hold anything. On magnetic-tile surfaces,
  with normal tiles of other sizes as reference, blowholes reach pixel AUROC {tiles["blowhole"]["distance"]["pixel_auroc"]:.2f} (pixel PCA {tiles["blowhole"]["pixel PCA"]["pixel_auroc"]:.2f}), fray only {tiles["fray"]["distance"]["pixel_auroc"]:.2f}:
  worn spots are smoother than normal, and the distance looks for more, not less. Whole tiles are not told apart (image AUROC
  {tiles["blowhole"]["distance"]["image_auroc"]:.2f} and {tiles["fray"]["distance"]["image_auroc"]:.2f}): normal ones differ more among themselves.
"""


def fill_in(text: str, parts: dict[str, str]) -> str:
    """The text with new parts at their marks."""
    for name, part in parts.items():
        mark = START.replace("figures", name)
        head, _, rest = text.partition(mark)
        _, _, tail = rest.partition(END)
        text = head + mark + part + END + tail
    return text


if __name__ == "__main__":
    for page, parts in (
        (ROOT / "README.md", {"figures": figures(), "latents": latents()}),
        (ROOT / "codec" / "BULK.md", {"figures": bulk()}),
    ):
        page.write_text(fill_in(page.read_text(encoding="utf-8"), parts), encoding="utf-8")
