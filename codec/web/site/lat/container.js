/** The .lat container: bytes <-> header, tiles and metadata. FORMAT.md, section "Container". */

import { crc32 } from "./crc32.js";
import { ChecksumError, FormatError, TruncatedError } from "./errors.js";

export const LATENT = 16; // pixels per latent, each way
const MAGIC = [0x8e, 0x4c, 0x41, 0x54, 0x0d, 0x0a, 0x1a, 0x0a];
const MODES = ["L", "LA", "RGB", "RGBA"];
const MAX_SIDE = 2 ** 31 - 1;
const MIN_TILE_BYTES = 13;
export const MAX_PATCH = 4096; // pixels a side of what is coded losslessly
const NO_WEIGHTS = "6c6f73736c657373"; // "lossless", in place of a fingerprint
const METADATA = { iccp: "icc", exif: "exif", xmp_: "xmp", text: "text" };
const METADATA_LIMIT = 64 * 2 ** 20;

/** LEB128 at `at` -> [value, position after it]; at most five bytes, no needless ones. */
export function readVarint(bytes, at) {
  let value = 0;
  for (let count = 0; count < 5; count++) {
    if (at + count >= bytes.length) throw new TruncatedError("a number runs past the end of its chunk");
    const byte = bytes[at + count];
    value += (byte & 0x7f) * 2 ** (7 * count);
    if (byte < 0x80) {
      if (byte === 0 && count) break;
      return [value, at + count + 1];
    }
  }
  throw new FormatError("a number is written with too many bytes");
}

export const readUint32 = (bytes, at) => new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);

const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");

/**
 * HEAD -> { width, height, mode, tile, model, lossless }: pixels, "RGB" …, latents a side, 16 hexadecimal digits; a
 * lossless file has nothing but patches, and needs no weights.
 */
function readHeader(payload) {
  if (payload.length < 4) throw new TruncatedError("HEAD: payload too short");
  if (payload[0] !== 1)
    throw new FormatError(`HEAD: format version ${payload[0]}, this reader knows 1; a newer one may read it`);
  if (payload[3])
    throw new FormatError(`HEAD: unknown required flags 0x${hex([payload[3]])}; a newer reader knows them`);
  const numbers = [];
  let at = 4;
  for (let i = 0; i < 4; i++) {
    const [value, next] = readVarint(payload, at);
    numbers.push(value);
    at = next;
  }
  const [width, height, mode, tile] = numbers;
  const model = payload.subarray(at, at + 8);
  if (model.length < 8) throw new TruncatedError("HEAD: payload too short");
  if (!(width > 0 && width <= MAX_SIDE && height > 0 && height <= MAX_SIDE))
    throw new FormatError(`HEAD: impossible picture size ${width} × ${height}`);
  if (mode >= MODES.length) throw new FormatError(`HEAD: unknown pixel mode ${mode}; a newer reader may know it`);
  if (tile < 4 || tile > 64 || tile % 4)
    throw new FormatError(`HEAD: tile side of ${tile} latents, must be a multiple of 4 from 4 to 64`);
  return { width, height, mode: MODES[mode], tile, model: hex(model), lossless: hex(model) === NO_WEIGHTS };
}

/** LOSS -> { left, top, right, bottom, masked, stream }: a rectangle of pixels, and the VP8L stream that it is. */
function readPatch(payload, { width, height }) {
  if (!payload.length || payload[0] > 1)
    throw new FormatError("LOSS: unknown kind of patch; a newer reader may know it");
  const [left, afterLeft] = readVarint(payload, 1);
  const [top, at] = readVarint(payload, afterLeft);
  const stream = payload.subarray(at);
  if (stream.length < 5 || stream[0] !== 0x2f || stream[4] >> 5)
    throw new FormatError("LOSS: no VP8L stream of version 0");
  const size = readUint32(stream, 1);
  const [w, h] = [(size & 0x3fff) + 1, ((size >>> 14) & 0x3fff) + 1];
  if (left + w > width || top + h > height) throw new FormatError("LOSS: a patch leaves the picture");
  if ((left % MAX_PATCH) + w > MAX_PATCH || (top % MAX_PATCH) + h > MAX_PATCH)
    throw new FormatError(`LOSS: a patch crosses a border between cells of ${MAX_PATCH} pixels`);
  return { left, top, right: left + w, bottom: top + h, masked: payload[0] === 1, stream };
}

/** Patches in raster order of their cells; without weights, all of the picture is in them. */
function readPatches(header, payloads, damaged) {
  const patches = payloads.map((payload) => readPatch(payload, header));
  const across = Math.ceil(header.width / MAX_PATCH);
  const cellOf = ({ left, top }) => Math.floor(top / MAX_PATCH) * across + Math.floor(left / MAX_PATCH);
  if (patches.some((patch, i) => i && cellOf(patches[i - 1]) >= cellOf(patch)))
    throw new FormatError("LOSS: patches out of order, or two in one cell");
  if (header.lossless) {
    const cells = across * Math.ceil(header.height / MAX_PATCH);
    const whole = patches.filter(({ masked }) => !masked);
    const covered = whole.reduce((sum, p) => sum + (p.right - p.left) * (p.bottom - p.top), 0);
    if (patches.length + damaged !== cells || (!damaged && covered !== header.width * header.height))
      throw new FormatError("HEAD names no weights, but LOSS does not cover the picture");
  }
  return patches;
}

/** Tiles across and down. */
export const gridOf = ({ width, height, tile }) => [
  Math.ceil(width / (tile * LATENT)),
  Math.ceil(height / (tile * LATENT)),
];

/** [type, payload, stored CRC, offset] of every chunk up to DATA, which must end the file. */
function* chunks(bytes) {
  let at = MAGIC.length;
  while (true) {
    if (at + 4 > bytes.length)
      throw new TruncatedError(`file ends at byte ${bytes.length}, before its DATA: it was cut short`);
    const kind = String.fromCharCode(...bytes.subarray(at, at + 4));
    if (!/^[A-Za-z_]{4}$/.test(kind))
      throw new FormatError(`byte ${at}: no chunk type; the file is damaged from here on`);
    const [length, start] = readVarint(bytes, at + 4);
    const end = start + length + 4;
    if (end > bytes.length)
      throw new TruncatedError(`chunk ${kind} at byte ${at} runs ${end - bytes.length} bytes past the end`);
    yield [kind, bytes.subarray(start, end - 4), readUint32(bytes, end - 4), at];
    at = end;
    if (kind !== "DATA") continue;
    if (at !== bytes.length) throw new FormatError(`${bytes.length - at} bytes after DATA, which ends a file`);
    return;
  }
}

const typeBytes = (kind) => Uint8Array.from(kind, (c) => c.charCodeAt(0));

/**
 * A whole file -> { header, tiles, crcs, patches, damaged, metadata }: tiles are views in raster order, metadata
 * { icc, exif, xmp, text }; damaged says what is wrong with patches that were altered. Every CRC is checked but those of
 * indexed tiles, which `tileBytes` checks. Throws FormatError and its kinds.
 */
export function parse(bytes) {
  if (!bytes.length || MAGIC.some((byte, i) => i < bytes.length && bytes[i] !== byte))
    throw new FormatError("not a .lat file (its first bytes are not the signature)");
  if (bytes.length < MAGIC.length) throw new TruncatedError(`file ends after ${bytes.length} bytes`);
  const found = new Map();
  const metadata = {};
  const lossless = [];
  const damaged = [];
  for (const [kind, payload, crc, at] of chunks(bytes)) {
    const known = ["HEAD", "INDX", "DATA"].includes(kind) || kind in METADATA;
    if ((kind === "HEAD") !== !found.size)
      throw new FormatError(`byte ${at}: HEAD must come first and once, found ${kind}`);
    if (found.has(kind)) throw new FormatError(`byte ${at}: second ${kind} chunk`);
    if (kind === "LOSS") {
      if (crc32(payload, crc32(typeBytes(kind))) === crc) lossless.push(payload);
      else damaged.push(`chunk LOSS at byte ${at}: checksum mismatch, altered after writing`);
      continue;
    }
    if (!known && /^[A-Z]/.test(kind))
      throw new FormatError(`byte ${at}: unknown critical chunk ${kind}; a newer reader may know it`);
    if (!(kind === "DATA" && found.has("INDX")) && crc32(payload, crc32(typeBytes(kind))) !== crc)
      throw new ChecksumError(`chunk ${kind} at byte ${at}: checksum mismatch, altered after writing`);
    if (!known) continue;
    if (kind in METADATA) {
      if (payload.length > METADATA_LIMIT)
        throw new FormatError(`byte ${at}: ${kind} of ${payload.length} bytes, at most ${METADATA_LIMIT} allowed`);
      metadata[METADATA[kind]] = payload;
    }
    found.set(kind, payload);
  }
  const header = readHeader(found.get("HEAD"));
  const patches = readPatches(header, lossless, damaged.length);
  const patched = patches.length + damaged.length > 0;
  return { header, metadata, patches, damaged, ...split(header, found.get("INDX"), found.get("DATA"), patched) };
}

/** Cut DATA into tiles; everything must agree before anything of the picture's size is allocated. */
function split(header, index, data, patched) {
  const [across, down] = gridOf(header);
  const count = across * down;
  if (header.lossless) {
    if (index || data.length) throw new FormatError("HEAD names no weights, but there are tiles");
    return { tiles: [], crcs: null };
  }
  if (!patched && data.length < MIN_TILE_BYTES * count)
    throw new FormatError(`DATA of ${data.length} bytes cannot hold ${across} × ${down} tiles`);
  if (count === 1) {
    if (index) throw new FormatError("INDX in a file of one tile");
    if (data.length && data.length < MIN_TILE_BYTES)
      throw new FormatError(`tile 0 of ${data.length} bytes is impossible`);
    return { tiles: [data], crcs: null };
  }
  if (!index) throw new FormatError(`no INDX although the picture has ${across} × ${down} tiles`);
  if (index.length < 5 * count)
    throw new FormatError(`INDX of ${index.length} bytes cannot list ${across} × ${down} tiles`);
  const tiles = [];
  const crcs = [];
  let at = 0;
  let start = 0;
  while (tiles.length < count) {
    const [size, next] = readVarint(index, at);
    if (next + 4 > index.length) throw new TruncatedError("INDX ends inside an entry");
    crcs.push(readUint32(index, next));
    at = next + 4;
    if (size < MIN_TILE_BYTES && (size || crcs.at(-1) || !patched))
      throw new FormatError(`tile ${tiles.length} of ${size} bytes is impossible`);
    if (start + size > data.length) throw new FormatError("INDX lists more bytes than DATA has");
    tiles.push(data.subarray(start, start + size));
    start += size;
  }
  if (at !== index.length || start !== data.length) throw new FormatError("INDX and DATA disagree in size");
  return { tiles, crcs };
}

/** Bytes of one tile, checked. Throws ChecksumError. */
export function tileBytes({ tiles, crcs }, index) {
  if (crcs && crc32(tiles[index]) !== crcs[index])
    throw new ChecksumError(
      `tile ${index}: checksum mismatch, its ${tiles[index].length} bytes were altered after writing`,
    );
  return tiles[index];
}
