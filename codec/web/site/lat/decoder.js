/** A parsed file -> the pixels of its tiles, one by one. As `Learned` of codec/learned.py. */

import { box, grow, heightOf, latentsUnder, meet, scale, shift, tileBox, tilesIn, widthOf } from "./boxes.js";
import { LATENT, tileBytes } from "./container.js";
import { LatError } from "./errors.js";
import { Patches } from "./patches.js";
import { readTile } from "./tile.js";

/**
 * Yields { left, top, width, height, pixels, done, all } for each tile under a region of pixels: the part of the tile
 * that lies in it, in RGBA, placed relative to the region, and how many of all tiles are done.
 *
 * network: null for a lossless file. `seconds` adds up what the stages took. Throws LatError and its kinds; with
 * onError(index, error), damage is reported, and painted flat; index is null where no tile can be named.
 *
 * @param {{ onError?: (index: number | null, error: Error) => void, seconds?: Record<string, number> }} [options]
 */
export async function* decodeTiles(parsed, region, network, options = {}) {
  const { onError, seconds = {} } = options;
  const { header } = parsed;
  const patches = new Patches(parsed, onError);
  const learned = network && new Learned(parsed, region, network, onError, seconds);
  const todo = tilesIn(header, latentsUnder(region));
  for (const [done, index] of todo.entries()) {
    const part = meet(scale(tileBox(header, index), LATENT), region);
    const pixels = learned && parsed.tiles[index].length ? await learned.pixels(index, part) : flat(part);
    await timed(seconds, "patches", () => patches.paste(pixels, part));
    learned?.forget(index);
    const { left, top } = shift(part, region.left, region.top);
    yield { left, top, width: widthOf(part), height: heightOf(part), pixels, done: done + 1, all: todo.length };
  }
}

/** What `work` gives, its time added to seconds[stage]. */
async function timed(seconds, stage, work) {
  const start = performance.now();
  const result = await work();
  seconds[stage] = (seconds[stage] ?? 0) + (performance.now() - start) / 1000;
  return result;
}

/** Grey and opaque: what is shown where nothing is known. */
const flat = (part) => {
  const pixels = new Uint8ClampedArray(4 * widthOf(part) * heightOf(part)).fill(128);
  for (let k = 3; k < pixels.length; k += 4) pixels[k] = 255;
  return pixels;
};

/**
 * Tiles that the networks decode. They are synthesised whole, with their neighbours' latents around them, so that there
 * are no seams; only tiles still in reach are kept.
 */
class Learned {
  #decoded = new Map(); // latents of tiles, by index
  #leaving = new Map(); // by tile, those that are not needed any more after it

  constructor(parsed, region, network, onError, seconds) {
    this.parsed = parsed;
    this.network = network;
    this.onError = onError;
    this.seconds = seconds;
    const { header } = parsed;
    this.bounds = latentsUnder(box(0, 0, header.width, header.height));
    this.under = latentsUnder(region);
    this.wanted = grow(this.under, network.reach, this.bounds);
  }

  /** RGBA of a part, in pixels, of a tile. */
  async pixels(index, part) {
    const { network, seconds } = this;
    const { header } = this.parsed;
    const own = tileBox(header, index);
    const seen = grow(own, network.reach, this.bounds);
    const needed = tilesIn(header, meet(seen, this.wanted));
    await timed(seconds, "latents", () => this.#read(needed));
    const { row, alpha } = this.#decoded.get(index);
    const pixels = await timed(seconds, "pixels", async () => {
      const y = gathered(header, seen, needed, this.#decoded, network.config.latents);
      const rgb = await network.synthesise(y, row, heightOf(seen), widthOf(seen));
      return cut(rgb, shift(part, seen.left * LATENT, seen.top * LATENT), widthOf(seen) * LATENT, header.mode);
    });
    if (alpha) setAlpha(pixels, alpha, shift(part, own.left * LATENT, own.top * LATENT), insideOf(header, own).width);
    return pixels;
  }

  async #read(needed) {
    const { header } = this.parsed;
    for (const index of needed) {
      if (this.#decoded.has(index)) continue;
      this.#decoded.set(index, await this.#latents(index));
      const reached = meet(grow(tileBox(header, index), this.network.reach, this.bounds), this.under);
      const last = tilesIn(header, reached).at(-1);
      this.#leaving.set(last, [...(this.#leaving.get(last) ?? []), index]);
    }
  }

  /** Let go of what no tile after this one needs. */
  forget(index) {
    for (const other of this.#leaving.get(index) ?? []) this.#decoded.delete(other);
    this.#leaving.delete(index);
  }

  /** `readTile`; an empty tile is a flat one, and with onError a damaged one becomes flat. */
  async #latents(index) {
    const { parsed, network, onError } = this;
    const own = tileBox(parsed.header, index);
    const [height, width] = [heightOf(own), widthOf(own)];
    const none = { row: 0, values: new Float32Array(network.config.latents * height * width), alpha: null };
    try {
      const bytes = tileBytes(parsed, index);
      if (!bytes.length) return none;
      return await readTile(bytes, parsed.header.mode, height, width, insideOf(parsed.header, own), network);
    } catch (error) {
      if (!onError || !(error instanceof LatError)) throw error;
      onError(index, error);
      return none;
    }
  }
}

/** Size in pixels of what a tile has within the picture. */
function insideOf(header, own) {
  const { left, top, right, bottom } = scale(own, LATENT);
  return { width: Math.min(right, header.width) - left, height: Math.min(bottom, header.height) - top };
}

/** ŷ (M, height, width) of the latents seen, out of the tiles that share some with them; zero elsewhere. */
function gathered(header, seen, tiles, decoded, channels) {
  const [height, width] = [heightOf(seen), widthOf(seen)];
  const out = new Float32Array(channels * height * width);
  for (const index of tiles) {
    const theirs = tileBox(header, index);
    const shared = meet(theirs, seen);
    const from = shift(shared, theirs.left, theirs.top);
    const to = shift(shared, seen.left, seen.top);
    const { values } = decoded.get(index);
    for (let channel = 0; channel < channels; channel++)
      for (let y = 0; y < heightOf(shared); y++) {
        const source = (channel * heightOf(theirs) + from.top + y) * widthOf(theirs) + from.left;
        const target = (channel * height + to.top + y) * width + to.left;
        for (let x = 0; x < widthOf(shared); x++) out[target + x] = values[source + x] / 64;
      }
  }
  return out;
}

/** A rectangle of RGB samples of rows `stride` pixels long -> RGBA; grey is the rounded mean of the three. */
function cut(rgb, { left, top, right, bottom }, stride, mode) {
  const out = new Uint8ClampedArray(4 * (right - left) * (bottom - top));
  const grey = mode.startsWith("L");
  let k = 0;
  for (let y = top; y < bottom; y++)
    for (let at = 3 * (y * stride + left), end = at + 3 * (right - left); at < end; at += 3) {
      const mean = (rgb[at] + rgb[at + 1] + rgb[at + 2]) / 3;
      out[k++] = grey ? mean : rgb[at];
      out[k++] = grey ? mean : rgb[at + 1];
      out[k++] = grey ? mean : rgb[at + 2];
      out[k++] = 255;
    }
  return out;
}

/** Copy a rectangle of a tile's alpha, of rows `stride` long. */
function setAlpha(pixels, alpha, { left, top, right, bottom }, stride) {
  let k = 3;
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++, k += 4) pixels[k] = alpha[y * stride + x];
}
