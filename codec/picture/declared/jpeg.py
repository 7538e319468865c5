"""What a JPEG declares (ITU-T T.81, JFIF, Exif, CIPA DC-007 for further pictures), in one pass over its segments."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from math import ceil

from codec.picture.declared import photoshop
from codec.picture.declared.record import Declared, further

SOI, EOI, SOS, DHT, DRI, DNL, COM, APP0 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xDC, 0xFE, 0xE0
FRAMES = {n for n in range(0xC0, 0xD0) if n not in (0xC4, 0xC8, 0xCC)}
READ = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # sequential and progressive
ARITHMETIC = {0xC9, 0xCA}
KINDS = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless"}
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # what may end the data of a scan
FILL = re.compile(rb"\xff*")
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
ZEROS = 64  # bytes of zeros that no picture codes to, where its shortest codes stand for something
ICC, XMP, PHOTOSHOP = b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
KEPT = {  # application segments that are read elsewhere or are about the coding
    (0, b""), (1, b"Exif\0"), (1, XMP), (2, ICC), (2, b"MPF\0"), (13, PHOTOSHOP), (14, b"Adobe"),
}  # fmt: skip
NAMED = {
    (1, b"http://ns.adobe.com/xmp/extension/\0"): "extended XMP",
    (2, b"urn:iso:std:iso:ts:21496:-1\0"): "gain map",
}
NO_END = "its end (EOI) is missing"
UNSEEN = 16  # bits of a coefficient that no scan had yet; no scan leaves so many
GAIN_MAP = re.compile(rb"hdr-?gain-?map|iso:ts:21496:-1|hdrgm:", re.IGNORECASE)
PADDING = b"\0\xff\r\n "


@dataclass
class Scan:
    """Components by their number in the frame, the coefficients coded, and where its data lie."""

    components: list[int]
    first: int
    last: int
    high: int
    low: int
    start: int
    end: int
    interval: int  # MCUs between restart markers; 0: there are none
    shortest: tuple[int, int]  # what the code of zeros means, of DC and AC

    @property
    def zeros_are_flat(self) -> bool:
        """Whether zeros alone code a flat picture: no difference, and the end of a block."""
        dc = self.first > 0 or self.high > 0 or self.shortest[0] == 0
        return dc and (self.last == 0 or self.shortest[1] in range(0, 0xF0, 16))


@dataclass
class File:
    """The segments of one JPEG. `end`: behind its EOI, or that of the data where there is none."""

    kind: int = 0
    bits: int = 0
    height: int = 0
    width: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)  # by identifier of the component
    height_at: int = 0
    lines: int = 0  # of DNL
    scans: list[Scan] = field(default_factory=list)
    segments: list[tuple[int, int, int]] = field(default_factory=list)  # marker, start and end of the payload
    end: int = 0
    whole: bool = False  # there is an EOI

    def mcus(self, scan: Scan) -> int:
        """How many a scan has."""
        across, down = (max(s[i] for s in self.sampling.values()) for i in (0, 1))
        height = self.height or self.lines
        if len(scan.components) > 1:
            return ceil(self.width / (8 * across)) * ceil(height / (8 * down))
        h, v = list(self.sampling.values())[scan.components[0]]
        return ceil(ceil(self.width * h / across) / 8) * ceil(ceil(height * v / down) / 8)


def parse(data: bytes, start: int = 0) -> File:
    """The JPEG that begins there. What does not fit ends it."""
    file, at, interval = File(end=len(data)), start + 2, 0
    shortest: dict[int, int] = {}
    while at + 4 <= len(data) or data[at : at + 2] == b"\xff\xd9":
        if data[at] != 0xFF:  # garbage before a marker is passed over, as libjpeg does
            found = data.find(b"\xff", at)
            at = found if found >= 0 else len(data)
            continue
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == EOI or marker == SOI and file.scans:
            file.whole = marker == EOI
            file.end = at + 2 * file.whole
            break
        elif marker in (0, 1, SOI) or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            size = struct.unpack_from(">H", data, at + 2)[0]
            body, behind = at + 4, at + 2 + max(2, size)
            if behind > len(data):
                break
            payload = data[body:behind]
            if marker in FRAMES and not file.kind:
                read_frame(file, marker, payload, body)
            elif marker == DRI and len(payload) > 1:
                interval = struct.unpack(">H", payload[:2])[0]
            elif marker == DNL and len(payload) > 1:
                file.lines = file.lines or struct.unpack(">H", payload[:2])[0]
            elif marker == DHT:
                read_tables(shortest, payload)
            elif marker == SOS:
                stop = scan_end(data, behind)
                read_scan(file, payload, behind, stop, interval, shortest)
                behind = stop
            else:
                file.segments.append((marker, body, behind))
            at = behind
    return file


def scan_end(data: bytes, at: int) -> int:
    """Where the marker is that ends the data of a scan; bytes 0xff may go before any marker."""
    while found := MARKER.search(data, at):
        code = FILL.match(data, found.start()).end()  # type: ignore[union-attr]
        if code < len(data) and data[code] and not 0xD0 <= data[code] <= 0xD7:
            return found.start()
        at = code + 1
    return len(data)


def read_frame(file: File, marker: int, payload: bytes, at: int) -> None:
    file.bits, file.height, file.width, count = struct.unpack_from(">BHHB", payload.ljust(6, b"\0"))
    file.kind, file.height_at = marker, at + 1
    for i in range(6, min(len(payload), 6 + 3 * count) - 2, 3):
        file.sampling[payload[i]] = max(1, payload[i + 1] >> 4), max(1, payload[i + 1] & 15)


def read_tables(shortest: dict[int, int], payload: bytes) -> None:
    """Huffman tables: what the code that is all zeros means, by class and number."""
    at = 0
    while at + 18 <= len(payload):
        shortest[payload[at]] = payload[at + 17]
        at += 17 + sum(payload[at + 1 : at + 17])


def read_scan(file: File, payload: bytes, start: int, end: int, interval: int, shortest: dict[int, int]) -> None:
    count = payload[0] if payload else 0
    known = list(file.sampling)
    if len(payload) < 4 + 2 * count or not count or not file.kind:
        return
    parts = [(known.index(c), t) for c, t in zip(payload[1 : 1 + 2 * count : 2], payload[2::2]) if c in known]
    if parts:
        first, last, approximation = payload[1 + 2 * count : 4 + 2 * count]
        table = parts[0][1]
        zeros = shortest.get(table >> 4, 0), shortest.get(16 | table & 15, 0)
        high, low = approximation >> 4, approximation & 15
        scan = Scan([c for c, _ in parts], first, last, high, low, start, end, interval, zeros)
        file.scans.append(scan)


def declare(data: bytes) -> Declared:
    """Of the first picture of the file, and what is beside and behind it."""
    file = parse(data)
    fault = fault_of(file, data)
    blemishes, mended = mend(file, data) if not fault else ((), None)
    pictures, extras = beside(file, data)
    if not fault and (share := lacking(file)):
        blemishes += (f"its scans leave out {share:.0%} of its coefficients, or bits of them",)
    return Declared(
        "JPEG",
        file.bits,
        channels=len(file.sampling),
        pictures=pictures,
        extras=tuple(extras.items()),
        blemishes=blemishes,
        mended=mended,
        fault=fault,
    )


def fault_of(file: File, data: bytes) -> str:
    """Why the first picture cannot be read; "" where it can."""
    if not file.kind or not file.scans and not file.whole:
        return "it is cut inside its header"
    if not file.scans:
        return "it has no scan"
    if file.kind not in READ:
        return f"it is {KINDS.get(file.kind, 'of a kind')} JPEG, which Pillow does not read"
    if file.bits != 8:
        return f"its samples have {file.bits} bits, which Pillow does not read; save it as a 16-bit .png or .tif"
    if not file.width or not file.height and not file.lines:
        return "its height is 0, and no DNL segment tells it" if file.width else "its width is 0"
    for scan in file.scans:
        if scan.interval and (wanted := ceil(file.mcus(scan) / scan.interval)) > 1:
            found = 1 + sum(1 for _ in RESTART.finditer(data, scan.start, scan.end))
            if found < wanted:
                return f"its scan data end early: {1 - found / wanted:.0%} of its restart intervals are missing"
        if (zeros := hole(file, scan, data)) > 0:
            share = zeros / (scan.end - scan.start)
            return f"{zeros:,} zero bytes stand in place of its scan data, {share:.0%} of them"
    return ""


def hole(file: File, scan: Scan, data: bytes) -> int:
    """Bytes of zeros inside the data of a scan, where they cannot be a picture; at the end see picture/complete.py."""
    if scan.zeros_are_flat or file.kind in ARITHMETIC:
        return 0
    at = data.find(bytes(ZEROS), scan.start, scan.end)
    if at < 0:
        return 0
    behind = re.compile(rb"[^\0]").search(data, at, scan.end)
    if not behind and scan is file.scans[-1]:
        return 0
    return (behind.start() if behind else scan.end) - at


def mend(file: File, data: bytes) -> tuple[tuple[str, ...], bytes | None]:
    """(Blemishes, the file without them): the end that is missing, the height that stands behind the first scan."""
    blemishes: tuple[str, ...] = ()
    mended = None
    if not file.height:
        mended = data[: file.height_at] + struct.pack(">H", file.lines) + data[file.height_at + 2 :]
    if not file.whole:
        blemishes += (NO_END,)
        mended = (mended or data)[: file.scans[-1].end].rstrip(b"\xff") + b"\xff\xd9"
    return blemishes, mended


def lacking(file: File) -> float:
    """The share of coefficients that the scans leave out or leave rough."""
    rough = [[UNSEEN] * 64 for _ in file.sampling]
    for scan in file.scans:
        sequential = file.kind not in (0xC2, 0xCA)
        for component in scan.components:
            for k in range(0 if sequential else scan.first, 64 if sequential else min(63, scan.last) + 1):
                if sequential or scan.high in (0, rough[component][k]):  # else the scan before it is not there
                    rough[component][k] = 0 if sequential else scan.low
    return sum(map(bool, sum(rough, []))) / max(1, 64 * len(rough))


def beside(file: File, data: bytes) -> tuple[int, dict[str, int]]:
    """(Pictures of equal rank, bytes by name of what is not kept): segments, and what lies behind the picture."""
    extras: dict[str, int] = {}

    def add(name: str, size: int) -> None:
        extras[name] = extras.get(name, 0) + size

    comments = [(start, end) for marker, start, end in file.segments if marker == COM]
    if len(comments) > 1:  # Pillow keeps the last
        add("further comments", sum(end - start for start, end in comments[:-1]))
    profile = [
        data[start:end] for marker, start, end in file.segments if data.startswith(ICC, start) and marker == APP0 + 2
    ]
    if profile and (len(min(profile)) <= len(ICC) + 1 or min(profile)[len(ICC) + 1] != len(profile)):
        add("unreadable ICC profile", sum(map(len, profile)))  # as Pillow takes it
    packets = [
        end - start for marker, start, end in file.segments if data.startswith(XMP, start) and marker == APP0 + 1
    ]
    if len(packets) > 1:  # Pillow keeps the first
        add("further XMP", sum(packets[1:]))
    for marker, start, end in file.segments:
        number = marker - APP0
        head = data[start : min(end, start + 48)]
        if number == 0 and (size := thumbnail(head, end - start)):
            add("thumbnail", size)
        elif number == 13 and (size := sum(photoshop.others(data[start:end].removeprefix(PHOTOSHOP)))):
            add("Photoshop resources", size)
        if not 0 <= number < 16 or any(number == n and head.startswith(i) for n, i in KEPT):
            continue
        name = next((said for (n, i), said in NAMED.items() if number == n and head.startswith(i)), "")
        title = re.match(rb"[ -~]*", head)[0].decode()[:32]  # type: ignore[index]
        add(name or f"JPEG segment APP{number} {title}".strip(), end - start)
    others, size = 0, 0
    for name, _, part in behind(data, file.end):
        if name == "picture":
            others, size = others + 1, size + part
        else:
            add(name, part)
    if others:
        extras.update([further(others + 1, size)])
    return 1 + others, extras


def thumbnail(head: bytes, size: int) -> int:
    """Bytes of the one in a JFIF segment, or in its extension (JFXX)."""
    if head.startswith(b"JFXX\0"):
        return size
    return 3 * head[12] * head[13] if head.startswith(b"JFIF\0") and len(head) >= 14 else 0


def behind(data: bytes, at: int) -> list[tuple[str, int, int]]:
    """What follows a picture, by name, place and size: pictures, gain maps, a video, and else data."""
    found: list[tuple[str, int, int]] = []
    video = data.find(b"ftyp", at) - 4
    while at < len(data):
        if data.startswith(b"\xff\xd8\xff", at):
            end = parse(data, at).end
            found.append(("gain map" if GAIN_MAP.search(data, at, min(end, at + 2**16)) else "picture", at, end - at))
        elif at == video:
            end = len(data)
            found.append(("video behind the picture", at, end - at))
        else:
            next_picture = data.find(b"\xff\xd8\xff", at)
            places = [p for p in (next_picture, video) if p >= at]
            end = min(places, default=len(data))
            if data[at:end].strip(PADDING):
                found.append(("data behind the picture", at, end - at))
        at = max(end, at + 1)
    return found
