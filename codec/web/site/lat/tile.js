/** One tile's record -> its latents and alpha. FORMAT.md, sections "Tile" and "Entropy model". */

import { crc32 } from "./crc32.js";
import { readUint32, readVarint } from "./container.js";
import { DesyncError, FormatError } from "./errors.js";
import { SymbolReader } from "./rans.js";

const GROUP_OF_PASS = [
  [0, 1, 2, 3],
  [3, 2, 1, 0],
  [2, 3, 0, 1],
  [1, 0, 3, 2],
]; // [pass][position]
const LEVELS = 63; // the last table
const LIMIT = 4095; // of what enters a layer

/**
 * bytes: a tile's record; height, width: its latents; inside: { width, height } of its pixels within the picture.
 * -> { row, values: Float32Array of ŷ (M, height, width), alpha: Uint8Array of the pixels inside, or null }.
 * Throws FormatError, DesyncError.
 */
export async function readTile(bytes, mode, height, width, inside, network) {
  const { rates } = network.config;
  const row = bytes[0] % rates;
  const yTables = network.yTables[Math.floor(bytes[0] / rates)];
  if (!yTables) throw new FormatError(`tile with rate row ${bytes[0]}, the weights have ${rates} in two kinds`);
  const written = readUint32(bytes, 1);
  let at = 5;
  let alpha = null;
  if (mode.endsWith("A")) {
    const [size, start] = readVarint(bytes, at);
    at = start + size;
    alpha = await unpackAlpha(bytes.subarray(start, at), inside);
  }
  const [h, w] = [Math.ceil(height / 4), Math.ceil(width / 4)];
  const { hyper, latents } = network.config;
  const reader = new SymbolReader(bytes.subarray(at), latents * height * width + hyper * h * w);
  const z = await passes("z", await network.zStart(row, h, w), h, w, reader, network.zTables, network);
  const started = await network.yStart(dequantised(z.values, network.gains[row], h * w), h, w, height, width);
  const y = await passes("y", started, height, width, reader, yTables, network, crc32(Uint8Array.of(row)));
  if (y.crc !== written)
    throw new DesyncError("decoded latents do not match their checksum: the stream was forged or damaged");
  return { row, values: y.values, alpha };
}

/** ẑ in 1/64, times the gain of its channel, as h_s takes it. The product needs more than 32 bits, a double has them. */
function dequantised(values, gain, size) {
  const wide = (v, k) => Math.floor((v * gain[Math.floor(k / size)] + 2 ** 13) / 2 ** 14);
  return values.map((v, k) => Math.max(-LIMIT, Math.min(LIMIT, wide(v, k))));
}

/**
 * The four passes over y or z: `started` is what the graph {kind}_start gave (codec/engine/onnx_graphs.py).
 * -> { values: Float32Array (N, height, width) in 1/64, crc: of the values in coding order }.
 */
async function passes(kind, { reduced, ...guesses }, height, width, reader, tables, network, crc = 0) {
  const parts = new Parts(guesses.guess_0.length / 8, height, width);
  for (let t = 0; t < 4; t++) {
    const guess = guesses[`guess_${t}`];
    const { rows, columns } = parts;
    const params =
      t === 0
        ? guess
        : await network.step(kind, t, { reduced, values: parts.before(t), guess, height, width, rows, columns });
    const coded = parts.code(t, params, reader, tables);
    if (kind === "y") crc = crc32(new Uint8Array(coded.buffer), crc);
  }
  return { values: parts.whole(), crc };
}

/** Values of N = 4n channels by position of the 2×2 and by pass: (4, 4, n, ⌈H/2⌉, ⌈W/2⌉). */
class Parts {
  constructor(places, height, width) {
    this.rows = Math.ceil(height / 2);
    this.columns = Math.ceil(width / 2);
    this.size = this.rows * this.columns;
    this.height = height;
    this.width = width;
    this.n = places / this.size;
    this.values = new Float32Array(16 * this.n * this.size);
  }

  /** What is known before pass t: (4, t·n, ⌈H/2⌉, ⌈W/2⌉). */
  before(t) {
    const one = this.n * this.size;
    const known = new Float32Array(4 * t * one);
    for (let position = 0; position < 4; position++)
      known.set(this.values.subarray(4 * position * one, (4 * position + t) * one), position * t * one);
    return known;
  }

  /** Rows, columns of a position that lie in the plane. */
  extent(position) {
    return [(this.height + 1 - (position >> 1)) >> 1, (this.width + 1 - (position & 1)) >> 1];
  }

  /** One pass: params (4, 2, n, rows, columns) of μ and level -> the new values, kept here and given in coding order. */
  code(t, params, reader, tables) {
    const { n, size } = this;
    const total = [0, 1, 2, 3].reduce((sum, position) => sum + this.extent(position).reduce((a, b) => a * b) * n, 0);
    const indices = new Uint8Array(total);
    const values = new Int32Array(total);
    this.each((k, position, channel, place) => {
      const level = params[(2 * position + 1) * n * size + channel * size + place];
      const index = (level + 16) >> 5;
      indices[k] = index < 0 ? 0 : index > LEVELS ? LEVELS : index;
    });
    reader.read(indices, tables, values);
    this.each((k, position, channel, place) => {
      values[k] = 64 * values[k] + params[2 * position * n * size + channel * size + place];
      this.values[(4 * position + t) * n * size + channel * size + place] = values[k];
    });
    return values;
  }

  /** f(k, position, channel, place) of what a pass codes, in coding order. */
  each(f) {
    let k = 0;
    for (let position = 0; position < 4; position++) {
      const [rows, columns] = this.extent(position);
      for (let channel = 0; channel < this.n; channel++)
        for (let i = 0; i < rows; i++)
          for (let j = 0; j < columns; j++) f(k++, position, channel, i * this.columns + j);
    }
  }

  /** The plane (N, height, width). */
  whole() {
    const { values, height, width, columns, size } = this;
    const out = new Float32Array(4 * this.n * height * width);
    const pass = [0, 1, 2, 3].map((group) => [0, 1, 2, 3].map((p) => GROUP_OF_PASS.findIndex((of) => of[p] === group)));
    let k = 0;
    for (let channel = 0; channel < 4 * this.n; channel++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const position = 2 * (y & 1) + (x & 1);
          const plane = (4 * position + pass[Math.floor(channel / this.n)][position]) * this.n + (channel % this.n);
          out[k++] = values[plane * size + (y >> 1) * columns + (x >> 1)];
        }
    return out;
  }
}

/** Alpha of a tile { width, height } in pixels. Throws FormatError. */
async function unpackAlpha(packed, { width, height }) {
  const alpha = new Uint8Array(width * height);
  if (packed.length < 2) return alpha.fill(packed.length ? packed[0] : 255);
  let at = 0;
  try {
    for await (const part of inflated(packed)) {
      if (at + part.length > alpha.length) throw new RangeError("too long");
      alpha.set(part, at);
      at += part.length;
    }
  } catch {
    throw new FormatError("alpha of a tile is damaged, or has more samples than the tile");
  }
  if (at !== alpha.length) throw new FormatError(`alpha of a tile has ${at} samples, not ${alpha.length}`);
  for (let k = width; k < alpha.length; k++) alpha[k] += alpha[k - width];
  return alpha;
}

/** Parts of what a zlib stream holds; nothing is read ahead of what is asked for. */
async function* inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value;
  } finally {
    reader.cancel().catch(() => {});
  }
}
