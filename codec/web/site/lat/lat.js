/**
 * Decoding .lat files in a browser: the module for other pages. WEB.md has examples.
 *
 * The work is done in a worker, which loads networks at the first file that needs them; a page that only imports this
 * module has downloaded nothing but it.
 */

import { box, heightOf, meet, widthOf } from "./boxes.js";
import { parse } from "./container.js";
import { LatError, LimitError, revive } from "./errors.js";
import { orientationOf } from "./png.js";

export * from "./errors.js";
export { toCanvas } from "./canvas.js";
export { toPNG } from "./png.js";

const MAX_PIXELS = 2 ** 27; // more than half a gigabyte of RGBA needs to be asked for

const asBytes = (data) =>
  ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);

/**
 * What a file says of itself, without decoding: { width, height, mode, tile, model, lossless, tiles, metadata,
 * orientation }.
 * Width and height are in pixels as stored, before the orientation 1 … 8 of EXIF. Throws FormatError.
 */
export function info(data) {
  const { header, tiles, metadata } = parse(asBytes(data));
  return { ...header, tiles: tiles.length, metadata, orientation: orientationOf(metadata) };
}

/** A worker with its networks, for one file at a time; more decodings wait their turn. */
export class Decoder {
  #worker = null;
  #waiting = new Map(); // id -> what to do with its messages
  #last = 0;
  #options;

  /**
   * threads: default all cores, up to 4; without cross-origin isolation it is one. gpu: false keeps off WebGPU, true
   * takes it for small pictures too, and where software stands in for the GPU.
   *
   * @param {{ threads?: number, gpu?: boolean }} options
   */
  constructor({ threads, gpu } = {}) {
    this.#options = { threads, gpu };
  }

  /**
   * A .lat file (ArrayBuffer or a view) -> { width, height, mode, pixels, metadata, orientation, seconds }, pixels being
   * RGBA, as `new ImageData(pixels, width, height)` takes them; seconds what each stage took.
   *
   * region: { left, top, right, bottom } in pixels, equal to that crop of the picture; reads only the tiles it needs.
   * onTile({ left, top, width, height, pixels }): each part as soon as it is there, placed in the region.
   * onProgress(done, all): in tiles. onError(tile, error): damage is reported and painted flat instead; tile is null where
   * none can be named.
   * maxPixels, signal: an AbortSignal.
   * Rejects with LatError and its kinds, or the signal's reason.
   */
  async decode(data, options = {}) {
    const { region, onTile, onProgress, onError, maxPixels = MAX_PIXELS, signal } = options;
    signal?.throwIfAborted();
    const bytes = asBytes(data);
    const described = info(bytes); // wrong files are refused before a worker is started
    const whole = box(0, 0, described.width, described.height);
    const wanted = region ?? whole;
    const inside = meet(wanted, whole);
    const [width, height] = [widthOf(wanted), heightOf(wanted)];
    const { left, top, right, bottom } = wanted;
    if (
      ![left, top, right, bottom].every(Number.isInteger) ||
      !(width > 0 && height > 0) ||
      widthOf(inside) !== width ||
      heightOf(inside) !== height
    )
      throw new LatError(
        `region ${left}, ${top} … ${right}, ${bottom} is empty or leaves the picture of ${whole.right} × ${whole.bottom}`,
      );
    if (width * height > maxPixels)
      throw new LimitError(
        `${width} × ${height} is more than ${maxPixels} pixels; raise maxPixels if you trust the file`,
      );
    let pixels = null; // allocated after the first tile decodes: a forged header must not cost a gigabyte
    const tiles = {
      tile: (message) => {
        pixels ??= allocate(width, height);
        paste(pixels, width, message);
        onTile?.(message);
        onProgress?.(message.done, message.all);
      },
      damaged: ({ index, error }) => onError?.(index, revive(error)),
    };
    const { seconds } = await this.#ask({ bytes, region: wanted, tolerant: Boolean(onError) }, tiles, signal);
    const { mode, metadata, orientation } = described;
    return { width, height, mode, pixels, metadata, orientation, seconds };
  }

  /** Send a job to the worker; `handlers` get its messages by kind until it is done or has failed. */
  #ask(job, handlers, signal) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const settle = (how) => (value) => {
        this.#waiting.delete(id);
        signal?.removeEventListener("abort", abort);
        how(value);
      };
      const fail = settle(reject);
      const abort = () => {
        this.#worker?.postMessage({ id, cancel: true });
        fail(signal.reason);
      };
      const each = (handler) => (message) => {
        try {
          handler(message);
        } catch (error) {
          this.#worker?.postMessage({ id, cancel: true });
          fail(error);
        }
      };
      this.#waiting.set(id, {
        ...Object.fromEntries(Object.entries(handlers).map(([kind, handler]) => [kind, each(handler)])),
        done: settle(resolve),
        failed: ({ error }) => fail(revive(error)),
      });
      signal?.addEventListener("abort", abort);
      this.#start().postMessage({ id, ...job });
    });
  }

  #start() {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => this.#waiting.get(data.id)?.[data.kind](data);
    worker.onerror = (event) => {
      event.preventDefault();
      const message = `the decoder stopped: ${event.message ?? "its script could not be loaded"}`;
      const waiting = [...this.#waiting.values()];
      this.close();
      for (const job of waiting) job.failed({ error: { name: "LatError", message } });
    };
    worker.postMessage({ options: this.#options });
    this.#worker = worker;
    return worker;
  }

  /** End the worker and free its memory; the next `decode` starts another. */
  close() {
    this.#worker?.terminate();
    this.#worker = null;
  }
}

function allocate(width, height) {
  try {
    return new Uint8ClampedArray(4 * width * height);
  } catch {
    throw new LimitError(`${width} × ${height} pixels do not fit in this browser's memory; decode regions of it`);
  }
}

/** Put a tile { left, top, width, height, pixels } into the picture. */
function paste(picture, stride, { left, top, width, height, pixels }) {
  for (let y = 0; y < height; y++)
    picture.set(pixels.subarray(4 * y * width, 4 * (y + 1) * width), 4 * ((top + y) * stride + left));
}

const shared = new Decoder();

/** `Decoder.decode` of one decoder that the whole page shares. */
export const decode = (data, options) => shared.decode(data, options);
