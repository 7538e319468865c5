/** The worker behind lat.js: jobs come in, tiles go out, one job at a time. */

import { decodeTiles } from "./decoder.js";
import { parse } from "./container.js";
import { LatError } from "./errors.js";
import { Networks } from "./networks.js";

const REST = 50; // ms between looks at what has come in: each takes some, and a file may have millions of empty tiles

let networks = null;
let queue = Promise.resolve();
const cancelled = new Set();

/** @type {(message: object, transfer?: Transferable[]) => void} a worker's, which the types of pages do not know */
const post = /** @type {any} */ (postMessage);

onmessage = ({ data }) => {
  if (data.options) networks = new Networks(data.options);
  else if (data.cancel) cancelled.add(data.id);
  else queue = queue.then(() => work(data));
};

async function work({ id, bytes, region, tolerant }) {
  const start = performance.now();
  /** @type {Record<string, number>} */
  const seconds = { load: 0, latents: 0, pixels: 0, patches: 0 };
  let rested = start;
  const onError = tolerant && ((index, error) => post({ id, kind: "damaged", index, error: plain(error) }));
  try {
    if (!cancelled.has(id)) {
      const parsed = parse(bytes);
      const { model, lossless } = parsed.header;
      const area = (region.right - region.left) * (region.bottom - region.top);
      const network = lossless ? null : await networks.for(model, area);
      seconds.load = (performance.now() - start) / 1000;
      for await (const tile of decodeTiles(parsed, region, network, { onError, seconds })) {
        if (performance.now() - rested > REST) {
          await new Promise((resolve) => setTimeout(resolve)); // let a cancellation in
          rested = performance.now();
        }
        if (cancelled.has(id)) break;
        post({ id, kind: "tile", ...tile }, [tile.pixels.buffer]);
      }
    }
    seconds.all = (performance.now() - start) / 1000;
    post({ id, kind: "done", seconds });
  } catch (error) {
    post({ id, kind: "failed", error: plain(error) });
  }
  cancelled.delete(id);
}

/** An error as it can be posted. What this module did not raise on purpose is most likely a lack of memory. */
const plain = (error) =>
  error instanceof LatError
    ? { name: error.name, message: error.message }
    : { name: "LatError", message: `the decoder failed: ${error.message ?? error}` };
