/** Decoded pictures on a canvas: upright, in the colours of their ICC profile. */

import { LimitError } from "./errors.js";
import { toPNG } from "./png.js";

const MAX_SIDE = 16384; // of a canvas, in every browser of today; Safari allows less area

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
 * Draw what `decode` gave on a canvas (HTML or offscreen), which takes its size. The browser converts pixels with an
 * ICC profile to the canvas's colour space. Throws LimitError.
 */
export async function toCanvas(picture, canvas) {
  const { width, height, pixels, metadata, orientation } = picture;
  const [w, h] = uprightSize(picture);
  if (Math.max(w, h) > MAX_SIDE) throw new LimitError(`${w} × ${h} pixels are more than a canvas holds; save it as PNG`);
  const wide = Boolean(metadata.icc) && globalThis.matchMedia?.("(color-gamut: p3)").matches;
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d", { colorSpace: wide ? "display-p3" : "srgb" });
  if (!context) throw new LimitError(`${w} × ${h} pixels are more than this browser's canvas holds; save it as PNG`);
  if (!metadata.icc && orientation === 1) {
    context.putImageData(new ImageData(pixels, width, height), 0, 0);
    return;
  }
  const source = metadata.icc ? await toPNG(picture, { exif: false }) : new ImageData(pixels, width, height);
  const bitmap = await createImageBitmap(source);
  context.setTransform(...UPRIGHT[orientation](width, height));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
}
