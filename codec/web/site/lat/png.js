/** Decoded pictures as PNG, with their ICC profile, EXIF and XMP. */

import { crc32 } from "./crc32.js";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const COLOUR_TYPES = { L: 0, LA: 4, RGB: 2, RGBA: 6 };
const SAMPLES = { L: [0], LA: [0, 3], RGB: [0, 1, 2], RGBA: [0, 1, 2, 3] }; // of RGBA
const BAND = 64; // rows that are filtered at a time

const ascii = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));

function chunk(kind, payload) {
  const bytes = new Uint8Array(payload.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length);
  bytes.set(ascii(kind), 4);
  bytes.set(payload, 8);
  view.setUint32(payload.length + 8, crc32(bytes.subarray(4, payload.length + 8)));
  return bytes;
}

function joined(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** zlib streams of what an iterable of Uint8Arrays gives. */
async function* deflated(parts) {
  const { readable, writable } = new CompressionStream("deflate");
  const writer = writable.getWriter();
  const writing = (async () => {
    for (const part of parts) await writer.write(part);
    await writer.close();
  })();
  const reader = readable.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value;
  await writing;
}

/** Bands of rows, each row behind its filter (4, Paeth: the best single one for photographs). */
function* filtered({ width, height, mode, pixels }) {
  const from = SAMPLES[mode];
  const size = from.length;
  let above = new Uint8Array(width * size);
  let row = new Uint8Array(width * size);
  for (let top = 0; top < height; top += BAND) {
    const rows = Math.min(BAND, height - top);
    const out = new Uint8Array(rows * (width * size + 1));
    let at = 0;
    for (let y = top; y < top + rows; y++) {
      const start = y * width * 4;
      for (let x = 0, k = 0; x < width; x++) for (const s of from) row[k++] = pixels[start + 4 * x + s];
      out[at++] = 4;
      for (let k = 0; k < row.length; k++) {
        const a = k < size ? 0 : row[k - size];
        const b = above[k];
        const c = k < size ? 0 : above[k - size];
        const pa = Math.abs(b - c);
        const pb = Math.abs(a - c);
        const pc = Math.abs(a + b - 2 * c);
        out[at++] = row[k] - (pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
      }
      [above, row] = [row, above];
    }
    yield out;
  }
}

async function packed(bytes) {
  const parts = [];
  for await (const part of deflated([bytes])) parts.push(part);
  return joined(...parts);
}

/**
 * What `decode` gave -> a PNG Blob with the pixels as they are stored, ICC profile, EXIF and XMP beside them.
 * { exif: false } leaves EXIF out, and with it the orientation.
 */
export async function toPNG(picture, { exif = true } = {}) {
  const { width, height, mode, metadata } = picture;
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([8, COLOUR_TYPES[mode], 0, 0, 0], 8);
  const parts = [SIGNATURE, chunk("IHDR", head)];
  if (metadata.icc) parts.push(chunk("iCCP", joined(ascii("ICC profile\0\0"), await packed(metadata.icc))));
  if (metadata.exif && exif) parts.push(chunk("eXIf", tiffOf(metadata.exif)));
  if (metadata.xmp) parts.push(chunk("iTXt", joined(ascii("XML:com.adobe.xmp\0\0\0\0\0"), metadata.xmp)));
  for await (const part of deflated(filtered(picture))) parts.push(chunk("IDAT", part));
  parts.push(chunk("IEND", new Uint8Array(0)));
  return new Blob(parts, { type: "image/png" });
}

/** EXIF without the "Exif\0\0" that JPEG puts before it. */
const tiffOf = (exif) => (String.fromCharCode(...exif.subarray(0, 4)) === "Exif" ? exif.subarray(6) : exif);

/**
 * Orientation 1 … 8 of { exif, xmp }, as EXIF, or else XMP, has it: 1, upright, where neither says a valid one.
 *
 * @param {{ exif?: Uint8Array, xmp?: Uint8Array }} metadata
 */
export function orientationOf({ exif, xmp }) {
  const found = exif && ofExif(tiffOf(exif));
  if (found) return found;
  return Number(/tiff:Orientation(?:=["']|>)([1-8])/.exec(new TextDecoder().decode(xmp))?.[1] ?? 1);
}

function ofExif(tiff) {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(directory, little); i++) {
      const entry = directory + 2 + 12 * i;
      if (view.getUint16(entry, little) !== 0x0112) continue;
      const value = view.getUint16(entry + 8, little);
      return value >= 1 && value <= 8 ? value : 0;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a directory that points beyond its end
  }
  return 0;
}
