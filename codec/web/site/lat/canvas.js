/** Decoded pictures on a canvas: upright, in the colours of their ICC profile. */

import { LimitError } from "./errors.js";
import { toPNG } from "./png.js";

const MAX_SIDE = 16384; // of a canvas, in every browser of today

// EXIF orientation -> the transform of a picture of w × h (CSS matrix a, b, c, d, e, f)
const UPRIGHT = {
  1: () => [1, 0, 0, 1, 0, 0],
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/** Size of a picture once it stands upright: [width, height]. */
export const uprightSize = ({ width, height, orientation }) => (orientation > 4 ? [height, width] : [width, height]);

/**
 * Draw what `decode` gave on a canvas (HTML or offscreen), which takes its size; a picture of more than 16384 pixels a
 * side is reduced to half, a third … The browser converts pixels with an ICC profile to the canvas's colour space.
 * Throws LimitError.
 */
export async function toCanvas(picture, canvas) {
  const drawn = reduced(picture, Math.ceil(Math.max(picture.width, picture.height) / MAX_SIDE));
  const { width, height, pixels, metadata, orientation } = drawn;
  const wide = Boolean(metadata.icc) && globalThis.matchMedia?.("(color-gamut: p3)").matches;
  [canvas.width, canvas.height] = uprightSize(drawn);
  const context = canvas.getContext("2d", { colorSpace: wide ? "display-p3" : "srgb" });
  if (!context) throw new LimitError(`${width} × ${height} pixels are more than this browser's canvas holds`);
  if (!metadata.icc && orientation === 1) {
    context.putImageData(new ImageData(pixels, width, height), 0, 0);
    return;
  }
  const source = metadata.icc ? await toPNG(drawn, { exif: false }) : new ImageData(pixels, width, height);
  const bitmap = await createImageBitmap(source);
  context.setTransform(...UPRIGHT[orientation](width, height));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
}

/** The same picture with the means of squares of `by` pixels a side. */
function reduced(picture, by) {
  if (by === 1) return picture;
  const [width, height] = [Math.floor(picture.width / by) || 1, Math.floor(picture.height / by) || 1];
  const [across, down] = [Math.min(by, picture.width), Math.min(by, picture.height)];
  const pixels = new Uint8ClampedArray(4 * width * height);
  for (let k = 0; k < pixels.length; k++) {
    const [x, y] = [(k >> 2) % width, Math.floor((k >> 2) / width)];
    let sum = 0;
    for (let i = 0; i < down; i++)
      for (let j = 0; j < across; j++) sum += picture.pixels[4 * ((y * by + i) * picture.width + x * by + j) + (k & 3)];
    pixels[k] = sum / (across * down);
  }
  return { ...picture, width, height, pixels };
}
