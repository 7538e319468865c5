/** What is coded losslessly: rectangles of pixels over the tiles. FORMAT.md, section "Patches". The decoder is the browser's. */

import { cellsUnder, heightOf, meet, shift, tilesIn, latentsUnder, widthOf } from "./boxes.js";
import { ChecksumError, FormatError, LatError } from "./errors.js";

/** The patches of a parsed file. Each is decoded once, when a tile first needs it. */
export class Patches {
  #byCell; // each cell has one at most
  #decoded = new Map(); // RGBA by patch, null where it is damaged
  #top = 0; // of the tiles that are pasted over

  /** Throws ChecksumError for patches that were altered; with onError(null, error), reports them. */
  constructor({ header, patches, damaged }, onError) {
    this.header = header;
    this.onError = onError;
    this.#byCell = new Map(
      patches.map((patch) => [cellsUnder({ ...patch, right: patch.left + 1, bottom: patch.top + 1 })[0], patch]),
    );
    for (const sentence of damaged) this.#report(null, new ChecksumError(sentence));
  }

  #report(index, error) {
    if (!this.onError || !(error instanceof LatError)) throw error;
    this.onError(index, error);
  }

  /** Put what they have of a part of the picture over its pixels, RGBA. Throws FormatError. */
  async paste(pixels, part) {
    if (part.top !== this.#top) this.#forgetAbove(part.top);
    for (const cell of cellsUnder(part)) {
      const patch = this.#byCell.get(cell);
      if (!patch) continue;
      const shared = meet(patch, part);
      if (!(widthOf(shared) && heightOf(shared))) continue;
      if (!this.#decoded.has(patch)) this.#decoded.set(patch, await this.#unpacked(patch));
      const source = this.#decoded.get(patch);
      if (source) this.#put(pixels, widthOf(part), shift(shared, part.left, part.top), source, patch, shared);
    }
  }

  /** Tiles come from the top. */
  #forgetAbove(top) {
    this.#top = top;
    for (const patch of this.#decoded.keys()) if (patch.bottom <= top) this.#decoded.delete(patch);
  }

  async #unpacked(patch) {
    try {
      return await decoded(patch);
    } catch (error) {
      const corner = latentsUnder({ ...patch, right: patch.left + 1, bottom: patch.top + 1 });
      this.#report(tilesIn(this.header, corner)[0], error);
      return null;
    }
  }

  /** Copy a rectangle; where a masked patch has alpha 0 the tiles' pixels stay, and all alpha is theirs. */
  #put(pixels, stride, to, source, patch, shared) {
    const alpha = this.header.mode.endsWith("A") && !patch.masked;
    const grey = this.header.mode.startsWith("L");
    for (let y = 0; y < heightOf(to); y++) {
      let from = 4 * ((shared.top - patch.top + y) * widthOf(patch) + shared.left - patch.left);
      let at = 4 * ((to.top + y) * stride + to.left);
      for (const end = at + 4 * widthOf(to); at < end; at += 4, from += 4) {
        if (patch.masked && !source[from + 3]) continue;
        for (let c = 0; c < 3; c++) pixels[at + c] = source[from + (grey ? 0 : c)];
        if (alpha) pixels[at + 3] = source[from + 3];
      }
    }
  }
}

/** RGBA of a patch. Throws FormatError. */
async function decoded(patch) {
  const file = webp(patch.stream);
  const size = [widthOf(patch), heightOf(patch)];
  const found = await (globalThis.ImageDecoder ? byImageDecoder(file) : byCanvas(file)).catch((error) => {
    throw new FormatError(`LOSS: patch at ${patch.left}, ${patch.top} is damaged: ${error.message}`);
  });
  if (found.width !== size[0] || found.height !== size[1]) throw new FormatError("LOSS: sizes of a patch disagree");
  return found.pixels;
}

/** A VP8L stream as a WebP file. */
function webp(stream) {
  const even = stream.length + (stream.length & 1);
  const file = new Uint8Array(20 + even);
  const view = new DataView(file.buffer);
  file.set(new TextEncoder().encode("RIFF    WEBPVP8L"));
  view.setUint32(4, 12 + even, true);
  view.setUint32(16, stream.length, true);
  file.set(stream, 20);
  return file;
}

async function byImageDecoder(data) {
  /** @type {any} premultiplyAlpha left the standard, and browsers of before need it */
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const decoder = new ImageDecoder({ data, type: "image/webp", ...options });
  const { image } = await decoder.decode();
  const { codedWidth: width, codedHeight: height, format } = image;
  const pixels = new Uint8Array(4 * width * height);
  await image.copyTo(pixels);
  image.close();
  decoder.close();
  if (!/^(RGB|BGR)[AX]$/.test(format)) throw new LatError(`this browser decodes it as ${format}`);
  if (format.startsWith("B"))
    for (let k = 0; k < pixels.length; k += 4) [pixels[k], pixels[k + 2]] = [pixels[k + 2], pixels[k]];
  if (format.endsWith("X")) for (let k = 3; k < pixels.length; k += 4) pixels[k] = 255;
  return { width, height, pixels };
}

/** For browsers without ImageDecoder. Exact but for colours under partial alpha, which a canvas rounds. */
async function byCanvas(data) {
  /** @type {ImageBitmapOptions} */
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(new Blob([data], { type: "image/webp" }), options);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return { width, height, pixels: context.getImageData(0, 0, width, height).data };
}
