"""What an AVIF or HEIC declares (ISO/IEC 14496-12, 23008-12, AV1-ISOBMFF): items, properties, references."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from codec.picture.declared.record import Declared, cut, further

MOST = 4096  # boxes in a row, items, extents of an item
MOST_OWNED = 64  # properties of an item
CODED = {"av01", "hvc1", "avc1", "grid", "iovl", "iden", "jpeg", "unci", "j2k1", "vvc1", "tmap"}
AUXILIARY = {  # what the type of an auxiliary picture has in it -> its name; alpha is kept
    "alpha": "",
    "hevc:2015:auxid:1": "",
    "depth": "depth map",
    "hevc:2015:auxid:2": "depth map",
    "gainmap": "gain map",
}
LIGHT = {"clli", "mdcv", "amve", "cclv", "reve", "ndwt"}  # properties about brightness
VIDEO = {"moov": "image sequence or video", "mpvd": "video", "uuid": "data of others (uuid)", "jumb": "JUMBF data"}


@dataclass
class Meta:
    """What a `meta` box says. Properties by item: kind -> the first such."""

    primary: int = 0
    kinds: dict[int, str] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    sizes: dict[int, int] = field(default_factory=dict)
    properties: list[tuple[str, bytes]] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    refers: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    end: int = 0  # of the last item in the file

    def of(self, item: int, kind: str) -> bytes:
        for index in self.owned.get(item, ()):
            if 0 < index <= len(self.properties) and self.properties[index - 1][0] == kind:
                return self.properties[index - 1][1]
        return b""


def declare(data: bytes) -> Declared:
    brands = data[8:12]
    name = "AVIF" if brands in (b"avif", b"avis") or b"avif" in data[8:64] else "HEIC"
    extras: dict[str, int] = {}
    meta, end = Meta(), 0
    for kind, start, stop in boxes(data, 0, len(data)):
        if kind == "meta" and not meta.kinds:
            meta = read_meta(data, start + 4, min(stop, len(data)))
        elif kind in VIDEO and not (kind == "moov" and data[8:12] == b"avis"):
            extras[VIDEO[kind]] = extras.get(VIDEO[kind], 0) + stop - start
        end = stop
    if end < len(data):
        extras["data behind the picture"] = len(data) - end
    for title, size in parts(meta):
        extras[title] = extras.get(title, 0) + size
    colour = [body for kind, body in owned(meta, meta.primary) if kind == "colr"]
    cicp = next((c[4:10] for c in colour if c[:4] == b"nclx" and len(c) >= 10), None)
    top = {item for item, kind in meta.kinds.items() if kind in CODED} - meta.hidden
    top -= {source for kind, source, _ in meta.refers if kind in ("auxl", "thmb")}
    top -= {target for kind, _, targets in meta.refers if kind == "dimg" for target in targets}
    top -= {meta.primary} | {item for item, kind in meta.kinds.items() if kind == "tmap"}
    if top:
        extras |= [further(len(top) + 1, sum(meta.sizes.get(item, 0) for item in top))]
    return Declared(
        name,
        bits(meta),
        icc=next((c[4:] for c in colour if c[:4] in (b"prof", b"rICC")), None),
        cicp=bytes([cicp[1], cicp[3], 0, 1]) if cicp and not cicp[0] and not cicp[2] else None,
        pictures=len(top) + 1,
        extras=tuple(extras.items()),
        blemishes=cut(max(end, meta.end), data),
    )


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """(kind, first byte of the content, end) of each box; the end of a cut one is where it ought to be."""
    for _ in range(MOST):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield kind.decode("latin-1"), start + head, start + size
        start += size


def read_meta(data: bytes, start: int, end: int) -> Meta:
    """As far as it is readable."""
    meta = Meta()
    readers = {"pitm": read_primary, "iinf": read_items, "iloc": read_places, "iref": read_references}
    for kind, first, stop in boxes(data, start, end):
        stop = min(stop, end)
        try:
            if kind in readers:
                readers[kind](meta, data, first, stop)
            elif kind == "iprp":
                read_properties(meta, data, first, stop)
        except struct.error:
            continue
    return meta


def read_primary(meta: Meta, data: bytes, at: int, end: int) -> None:
    meta.primary = struct.unpack_from(">I" if data[at] else ">H", data, at + 4)[0]


def read_items(meta: Meta, data: bytes, at: int, end: int) -> None:
    for kind, first, _ in boxes(data, at + (8 if data[at] else 6), end):
        if kind == "infe" and data[first] >= 2:
            long = data[first] > 2
            item, _, name = struct.unpack_from(">IH4s" if long else ">HH4s", data, first + 4)
            meta.kinds[item] = name.decode("latin-1")
            if data[first + 3] & 1:
                meta.hidden.add(item)


def read_places(meta: Meta, data: bytes, at: int, end: int) -> None:
    """How many bytes each item has: the sum of its extents."""
    version, sizes, more = data[at], data[at + 4], data[at + 5]
    offset, length, base, index = sizes >> 4, sizes & 15, more >> 4, (more & 15) if version else 0
    wide = version == 2
    count = struct.unpack_from(">I" if wide else ">H", data, at + 6)[0]
    at += 10 if wide else 8
    for _ in range(min(count, MOST)):
        item = struct.unpack_from(">I" if wide else ">H", data, at)[0]
        at += 4 if wide else 2
        method = data[at + 1] & 15 if version else 0
        at += (2 if version else 0) + 2
        origin = int.from_bytes(data[at : at + base], "big")
        extents = struct.unpack_from(">H", data, at + base)[0]
        at += base + 2
        total = 0
        for _ in range(min(extents, MOST)):
            if at >= end:
                return
            begin = int.from_bytes(data[at + index : at + index + offset], "big")
            size = int.from_bytes(data[at + index + offset : at + index + offset + length], "big")
            at += index + offset + length
            total += size
            if method == 0:
                meta.end = max(meta.end, origin + begin + size)
        meta.sizes[item] = total


def read_references(meta: Meta, data: bytes, at: int, end: int) -> None:
    code = "I" if data[at] else "H"
    for kind, first, _ in boxes(data, at + 4, end):
        source, count = struct.unpack_from(f">{code}H", data, first)
        targets = struct.unpack_from(f">{count}{code}", data, first + struct.calcsize(f">{code}H"))
        meta.refers.append((kind, source, targets))


def read_properties(meta: Meta, data: bytes, start: int, end: int) -> None:
    for kind, first, stop in boxes(data, start, end):
        stop = min(stop, end)
        if kind == "ipco":
            meta.properties = [(k, data[a : min(b, stop)]) for k, a, b in boxes(data, first, stop)]
        elif kind == "ipma":
            read_owners(meta, data, first, stop)


def read_owners(meta: Meta, data: bytes, at: int, end: int) -> None:
    """Which properties each item has."""
    version, wide = data[at], data[at + 3] & 1
    count = struct.unpack_from(">I", data, at + 4)[0]
    at += 8
    for _ in range(min(count, MOST)):
        item, number = struct.unpack_from(">IB" if version else ">HB", data, at)
        at += 5 if version else 3
        for _ in range(number):
            index = struct.unpack_from(">H" if wide else ">B", data, at)[0]
            if len(meta.owned[item]) < MOST_OWNED:
                meta.owned[item].append(index & (0x7FFF if wide else 0x7F))
            at += 2 if wide else 1


def owned(meta: Meta, item: int) -> Iterator[tuple[str, bytes]]:
    """The properties of an item."""
    for index in meta.owned.get(item, ()):
        if 0 < index <= len(meta.properties):
            yield meta.properties[index - 1]


def bits(meta: Meta) -> int:
    """Of a sample of the primary picture, or of the first tile of a grid."""
    for item in (meta.primary, *(t for k, s, ts in meta.refers if k == "dimg" and s == meta.primary for t in ts[:1])):
        av1, hevc, said = (meta.of(item, kind) for kind in ("av1C", "hvcC", "pixi"))
        if len(av1) >= 4:
            return (12 if av1[2] & 0x20 else 10) if av1[2] & 0x40 else 8
        if len(hevc) >= 19:
            return (hevc[17] & 7) + 8
        if len(said) > 5:
            return max(said[5:])
    return 0


def parts(meta: Meta) -> Iterator[tuple[str, int]]:
    """(name, bytes) of what is beside the primary picture and is not kept."""
    for kind, source, _ in meta.refers:
        size = meta.sizes.get(source, 0)
        if kind == "thmb":
            yield "thumbnail", size
        elif kind == "auxl":
            said = meta.of(source, "auxC")[4:].split(b"\0")[0].decode("latin-1")
            title = next((name for part, name in AUXILIARY.items() if part in said), f"auxiliary picture {said[-24:]}")
            if title:
                yield title, size
    made_of = {source: targets for kind, source, targets in meta.refers if kind == "dimg"}
    for item, name in meta.kinds.items():
        if name == "tmap":
            pictures = made_of.get(item, ())[1:2]  # the first is the base picture
            yield "gain map", sum(meta.sizes.get(part, 0) for part in (item, *pictures))
        elif name not in CODED and name not in ("Exif", "mime"):
            yield f"item of type {name}", meta.sizes.get(item, 0)
    light = [(kind, body) for kind, body in owned(meta, meta.primary) if kind in LIGHT]
    if light:
        yield f"brightness of the screen ({', '.join(kind for kind, _ in light)})", sum(len(body) for _, body in light)
