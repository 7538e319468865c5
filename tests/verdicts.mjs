/**
 * The browser's reader in Node: `node verdicts.mjs LAT RUNTIME GRAPHS < files > verdicts`.
 *
 * LAT: codec/web/site/lat; RUNTIME: onnxruntime-web; GRAPHS: what `lat onnx --decoder` writes. Each file comes after its
 * length (u32), and is answered by a line: "picture", or the name of the error. Patches are black: a browser decodes
 * them, not our code.
 */

import { readFileSync, readdirSync } from "node:fs";
import { inflateSync } from "node:zlib";

const [lat, runtime, graphs] = process.argv.slice(2);
const { decodeTiles } = await import(`${lat}/decoder.js`);
const { parse } = await import(`${lat}/container.js`);
const { LatError, LimitError, MissingModelError } = await import(`${lat}/errors.js`);
const { Network } = await import(`${lat}/networks.js`);
const ort = await import(`${runtime}/ort.wasm.bundle.min.mjs`);
const MAX_PIXELS = 2 ** 18;

/** As browsers have it: what is behind a zlib stream is an error, which Node passes over. */
globalThis.DecompressionStream = class extends TransformStream {
  constructor() {
    const parts = [];
    const flush = (controller) => {
      const packed = Buffer.concat(parts);
      const { buffer, engine } = inflateSync(packed, { info: true, maxOutputLength: 2 ** 24 });
      if (engine.bytesWritten !== packed.length) throw new TypeError("something is behind the stream");
      controller.enqueue(new Uint8Array(buffer));
    };
    super({ transform: (part) => void parts.push(part), flush });
  }
};

globalThis.ImageDecoder = class {
  constructor({ data }) {
    const size = new DataView(data.buffer).getUint32(21, true);
    Object.assign(this, { codedWidth: (size & 0x3fff) + 1, codedHeight: ((size >>> 14) & 0x3fff) + 1, format: "RGBA" });
  }
  decode = async () => ({ image: this });
  copyTo = async () => {};
  close() {}
};

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = readFileSync(`${runtime}/ort-wasm-simd-threaded.wasm`);
ort.env.logLevel = "error";
const files = readdirSync(graphs).map((name) => [name, readFileSync(`${graphs}/${name}`)]);
const network = await Network.create(ort, Object.fromEntries(files));

async function decode(bytes) {
  const parsed = parse(bytes);
  const { width, height, model, lossless } = parsed.header;
  if (width * height > MAX_PIXELS) throw new LimitError("too large");
  if (!lossless && model !== "74696e7974696e79") throw new MissingModelError("not tiny");
  const whole = { left: 0, top: 0, right: width, bottom: height };
  for await (const tile of decodeTiles(parsed, whole, lossless ? null : network)) void tile;
}

const input = readFileSync(0);
for (let at = 0; at < input.length; ) {
  const start = at + 4;
  at = start + input.readUInt32LE(at);
  const verdict = await decode(new Uint8Array(input.subarray(start, at))).then(
    () => "picture",
    (error) => (error instanceof LatError ? error.name : `${error.stack}`.replaceAll("\n", " ")),
  );
  process.stdout.write(`${verdict}\n`);
}
