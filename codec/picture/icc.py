"""ICC profiles for pictures that say their colours in other words: chromaticities and gamma, or code points (CICP).

An ICC profile is what every other format and viewer knows. ICC.1:2022 is the specification; cICP is ITU-T H.273.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

D65 = (0.3127, 0.3290)
SRGB = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x, y of white, red, green, blue
PRIMARIES = {
    1: SRGB,
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50 = np.array([0.9642, 1.0, 0.8249])
REFERENCE_WHITE = 203  # cd/m² of diffuse white in HDR pictures (ITU-R BT.2408)


def pq(v: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 signal -> light, 1 at diffuse white; what is brighter is cut, as on a screen without HDR."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = v ** (1 / m2)
    return np.minimum(10000 / REFERENCE_WHITE * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1), 1)


def hlg(v: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100 HLG signal -> light, 1 at the signal of diffuse white (0.75)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    return np.minimum((scene / scene[np.searchsorted(v, 0.75)]) ** 1.2, 1)


Curve = float | bytes | Callable[[np.ndarray], np.ndarray] | None  # a power, a tag, samples, or None for that of sRGB
TRANSFERS: dict[int, Curve] = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None, 16: pq, 18: hlg}


def of_png(gamma: float | None, chromaticity: tuple[float, ...] | None, grey: bool) -> bytes | None:
    """The profile that gAMA and cHRM describe; None where that is sRGB, or nonsense."""
    usual = gamma is None or abs(gamma - 1 / 2.2) < 0.005
    same = chromaticity is None or grey or max(abs(a - b) for a, b in zip(chromaticity, SRGB)) < 0.002
    if usual and same or gamma is not None and not 0.1 < gamma < 10:
        return None
    return profile(chromaticity or SRGB, None if usual or gamma is None else 1 / gamma, grey)


def of_cicp(chunk: bytes, grey: bool) -> bytes | None:
    """The profile of a cICP chunk, which it holds as well; None where that is sRGB, or not known here."""
    primaries, transfer = PRIMARIES.get(chunk[0]), TRANSFERS.get(chunk[1], 0.0)
    if primaries is None or transfer == 0 or chunk[2] != 0 or (primaries == SRGB and transfer is None):
        return None
    return profile(primaries, transfer, grey, chunk[:4])


def fitting(found: bytes, grey: bool) -> bytes | None:
    """A profile for pixels that are grey, or colours: itself, or one with the same tones; None where there is none.

    Only for grey pictures: their tones are all that counts. What is no ICC profile is left as it is.
    """
    sense = found[16:20]
    if found[36:40] != b"acsp" or sense == (b"GRAY" if grey else b"RGB "):
        return found
    curves = {tag_of(found, key) for key in ((b"rTRC", b"gTRC", b"bTRC") if grey else (b"kTRC",))}
    curve = curves.pop()
    if curves or curve is None or sense not in (b"GRAY", b"RGB ") or found[20:24] != b"XYZ ":
        return None
    return profile(SRGB, curve, grey)


def tag_of(found: bytes, key: bytes) -> bytes | None:
    """What a tag of a profile holds."""
    count = min(int.from_bytes(found[128:132], "big"), 100)
    for at in range(132, min(132 + 12 * count, len(found) - 11), 12):
        if found[at : at + 4] == key:
            start, size = struct.unpack_from(">II", found, at + 4)
            return found[start : start + size] if start + size <= len(found) else None
    return None


def profile(chromaticity: tuple[float, ...], curve: Curve, grey: bool, cicp: bytes | None = None) -> bytes | None:
    """An ICC profile (version 4.4) for a display with these colours; None where they are impossible."""
    white, *colours = (np.array([x, y, 1 - x - y]) / max(y, 1e-9) for x, y in zip(*[iter(chromaticity)] * 2))
    try:
        matrix = np.stack(colours, 1)
        matrix = matrix * np.linalg.solve(matrix, white)
        cones = np.diag(BRADFORD @ D50 / (BRADFORD @ white))
        adapted = np.linalg.inv(BRADFORD) @ cones @ BRADFORD
    except np.linalg.LinAlgError:
        return None
    tags = {b"desc": text("lat: the colours that the file declared"), b"cprt": text("No copyright"), b"wtpt": xyz(D50)}
    if grey:
        tags[b"kTRC"] = tone(curve)
    else:
        columns = (adapted @ matrix).T
        tags |= {key: xyz(column) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone(curve))
        tags[b"chad"] = b"sf32" + bytes(4) + fixed(adapted.ravel())
    if cicp:
        tags[b"cicp"] = b"cicp" + bytes(4) + cicp
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4x4s4s4s4s", at + len(body), b"\x04\x40\0\0", b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def fixed(values: np.ndarray) -> bytes:
    """s15Fixed16 numbers."""
    return np.round(np.clip(values, -32767, 32767) * 65536).astype(">i4").tobytes()


def xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + fixed(values)


def text(value: str) -> bytes:
    data = value.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def tone(curve: Curve) -> bytes:
    """A tone curve: of sRGB, a power, 1024 samples, or one that is there."""
    if isinstance(curve, bytes):
        return curve
    if curve is None:
        return (
            b"para"
            + bytes(4)
            + struct.pack(">HH", 3, 0)
            + fixed(np.array([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]))
        )
    if callable(curve):
        samples = np.round(curve(np.linspace(0, 1, 1024)) * 65535).astype(">u2").tobytes()
        return b"curv" + bytes(4) + struct.pack(">I", 1024) + samples
    return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + fixed(np.array([curve]))
