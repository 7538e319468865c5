"""The colours that a file declares, as the ICC profile of a picture, wherever Pillow does not pass them on."""

from __future__ import annotations

from codec.picture import icc
from codec.picture.declared import Declared

UNSAID = 2  # of ITU-T H.273, primaries and transfer alike
SRGB = ((1, 13), (1, 1), (1, 6), (6, 6), (6, 13), (5, 6))  # or so near that everybody shows it as that


def complete(found: dict[str, bytes], said: Declared, own: bool, grey: bool) -> list[str]:
    """Put a profile into metadata; notes on what cannot be one. `own`: the profile in it is the file's, byte for byte.

    A profile is worth more than code points, and these more than chromaticities, as in PNG and HEIF.
    """
    if said.xmp:
        found.setdefault("xmp", said.xmp)
    if own:
        return []
    if said.icc:
        found["icc"] = said.icc
    elif said.cicp:
        found.pop("icc", None)
        return of_code_points(found, said.cicp, grey)
    elif profile := icc.of_png(said.gamma, said.chromaticity, grey):
        found["icc"] = profile
    return []


def of_code_points(found: dict[str, bytes], cicp: bytes, grey: bool) -> list[str]:
    primaries, transfer, matrix, full_range = cicp
    plain = matrix == 0 and full_range == 1
    if plain and (profile := icc.of_cicp(cicp, grey)):
        found["icc"] = profile
    elif not plain or UNSAID not in (primaries, transfer) and (primaries, transfer) not in SRGB:
        return [f"colours of an unknown kind (CICP {'/'.join(map(str, cicp))}) are taken as sRGB"]
    return []
