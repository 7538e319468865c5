/** Half-open rectangles { left, top, right, bottom }, and where a picture's tiles lie. As codec/tiles.py. */

import { LATENT, MAX_PATCH, gridOf } from "./container.js";

export const box = (left, top, right, bottom) => ({ left, top, right, bottom });
export const widthOf = (b) => b.right - b.left;
export const heightOf = (b) => b.bottom - b.top;
export const scale = (b, by) => box(b.left * by, b.top * by, b.right * by, b.bottom * by);
export const shift = (b, left, top) => box(b.left - left, b.top - top, b.right - left, b.bottom - top);
export const grow = (b, by, within) => meet(box(b.left - by, b.top - by, b.right + by, b.bottom + by), within);

/** What two rectangles share. */
export function meet(a, b) {
  const left = Math.max(a.left, b.left);
  const top = Math.max(a.top, b.top);
  return box(left, top, Math.max(left, Math.min(a.right, b.right)), Math.max(top, Math.min(a.bottom, b.bottom)));
}

/** The latents that a rectangle of pixels lies on. */
export const latentsUnder = (b) =>
  box(
    Math.floor(b.left / LATENT),
    Math.floor(b.top / LATENT),
    Math.ceil(b.right / LATENT),
    Math.ceil(b.bottom / LATENT),
  );

/** Latents of a tile, by its place in raster order. */
export function tileBox(header, index) {
  const across = gridOf(header)[0];
  const left = (index % across) * header.tile;
  const top = Math.floor(index / across) * header.tile;
  return meet(
    box(left, top, left + header.tile, top + header.tile),
    latentsUnder(box(0, 0, header.width, header.height)),
  );
}

/** Names of the cells that a rectangle of pixels reaches into. */
export function cellsUnder(pixels) {
  const found = [];
  for (let row = Math.floor(pixels.top / MAX_PATCH); row * MAX_PATCH < pixels.bottom; row++)
    for (let column = Math.floor(pixels.left / MAX_PATCH); column * MAX_PATCH < pixels.right; column++)
      found.push(`${row} ${column}`);
  return found;
}

/** Tiles that share latents with a rectangle of them, in raster order. */
export function tilesIn(header, latents) {
  const across = gridOf(header)[0];
  const found = [];
  for (let row = Math.floor(latents.top / header.tile); row < Math.ceil(latents.bottom / header.tile); row++)
    for (let column = Math.floor(latents.left / header.tile); column < Math.ceil(latents.right / header.tile); column++)
      found.push(row * across + column);
  return found;
}
