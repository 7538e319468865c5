/** A parsed file -> the pixels of its tiles, one by one. As `_synthesised` of codec/coder.py. */

import { box, grow, heightOf, latentsUnder, meet, scale, shift, tileBox, tilesIn, widthOf } from "./boxes.js";
import { LATENT, gridOf, tileBytes } from "./container.js";
import { LatError } from "./errors.js";
import { readTile } from "./tile.js";

/**
 * Yields { left, top, width, height, pixels, done, all } for each tile under a region of pixels: the part of the tile
 * that lies in it, in RGBA, placed relative to the region, and how many of all tiles are done.
 *
 * Tiles are synthesised whole, with their neighbours' latents around them, so that there are no seams; only tiles still
 * in reach are kept. `seconds` adds up what the two stages took. Throws LatError and its kinds; with onError(index,
 * error), damaged tiles are reported and painted flat.
 */
export async function* decodeTiles(parsed, region, network, { onError, seconds = {} } = {}) {
  const { header } = parsed;
  const bounds = latentsUnder(box(0, 0, header.width, header.height));
  const under = latentsUnder(region);
  const reach = network.reach;
  const wanted = new Set(tilesIn(header, grow(under, reach, bounds)));
  const todo = tilesIn(header, under);
  const decoded = new Map();
  let done = 0;
  for (const index of todo) {
    const own = tileBox(header, index);
    const seen = grow(own, reach, bounds);
    let start = performance.now();
    const needed = tilesIn(header, seen).filter((other) => wanted.has(other));
    for (const other of needed)
      if (!decoded.has(other)) decoded.set(other, await latentsOf(parsed, other, network, onError));
    seconds.latents = (seconds.latents ?? 0) + (performance.now() - start) / 1000;
    start = performance.now();
    const { row, alpha } = decoded.get(index);
    const y = gathered(header, seen, needed, decoded, network.config.latents);
    const rgb = await network.synthesise(y, row, heightOf(seen), widthOf(seen));
    const part = meet(scale(own, LATENT), region);
    const pixels = cut(rgb, shift(part, seen.left * LATENT, seen.top * LATENT), widthOf(seen) * LATENT, header.mode);
    if (alpha) setAlpha(pixels, alpha, shift(part, own.left * LATENT, own.top * LATENT), insideOf(header, own).width);
    seconds.pixels = (seconds.pixels ?? 0) + (performance.now() - start) / 1000;
    const { left, top } = shift(part, region.left, region.top);
    yield { left, top, width: widthOf(part), height: heightOf(part), pixels, done: ++done, all: todo.length };
    for (const other of decoded.keys()) if (other < index - gridOf(header)[0] - 1) decoded.delete(other);
  }
}

/** Size in pixels of what a tile has within the picture. */
function insideOf(header, own) {
  const { left, top, right, bottom } = scale(own, LATENT);
  return { width: Math.min(right, header.width) - left, height: Math.min(bottom, header.height) - top };
}

/** `readTile`; with onError a damaged tile becomes a flat one. */
async function latentsOf(parsed, index, network, onError) {
  const own = tileBox(parsed.header, index);
  const [height, width] = [heightOf(own), widthOf(own)];
  try {
    return await readTile(tileBytes(parsed, index), parsed.header.mode, height, width, insideOf(parsed.header, own), network);
  } catch (error) {
    if (!onError || !(error instanceof LatError)) throw error;
    onError(index, error);
    return { row: 0, values: new Float32Array(network.config.latents * height * width), alpha: null };
  }
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
  for (let y = top; y < bottom; y++)
    for (let x = left; x < right; x++, k += 4) pixels[k] = alpha[y * stride + x];
}
