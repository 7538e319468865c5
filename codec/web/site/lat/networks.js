/**
 * The networks of a set of weights, run by onnxruntime-web. What goes in and out is described in codec/engine/graphs.py.
 *
 * models/index.json lists the sets of weights: { fingerprint: { name, files: { "g_s.onnx": SHA-256, … } } }.
 */

import { FormatError, LatError, MissingModelError } from "./errors.js";
import { Tables } from "./rans.js";

const CACHE = "lat-models"; // files in it are named by their contents, and never go stale
const GRAPHS = ["z_start", "z_step", "y_start", "y_step", "g_s"];

/** Loads each set of weights once. */
export class Networks {
  #base = new URL("models/", import.meta.url);
  #options;
  #runtime = null;
  #index = null;
  #loaded = new Map();

  /** threads: of the runtime; gpu: whether g_s may run on WebGPU. */
  constructor({ threads, gpu = true } = {}) {
    this.#options = { threads: threads ?? Math.min(4, navigator.hardwareConcurrency || 1), gpu };
  }

  /** The set of weights with a fingerprint. Throws MissingModelError, LatError. */
  async for(fingerprint) {
    if (!this.#loaded.has(fingerprint)) this.#loaded.set(fingerprint, await this.#load(fingerprint));
    return this.#loaded.get(fingerprint);
  }

  async #load(fingerprint) {
    this.#index ??= await (await download(new URL("index.json", this.#base))).json();
    const model = this.#index[fingerprint];
    if (!model) {
      const names = Object.values(this.#index).map(({ name }) => name);
      throw new MissingModelError(`written with weights ${fingerprint}, which are not here; here are: ${names.join(", ")}`);
    }
    this.#runtime ??= await startRuntime(this.#options);
    const names = Object.keys(model.files);
    const contents = await Promise.all(
      names.map((name) => verified(new URL(`${fingerprint}/${name}`, this.#base), model.files[name])),
    );
    return Network.create(this.#runtime, Object.fromEntries(names.map((name, i) => [name, contents[i]])));
  }
}

async function download(url) {
  const response = await fetch(url).catch((error) => {
    throw new LatError(`${url.pathname} cannot be had: ${error.message}`);
  });
  if (!response.ok) throw new LatError(`${url.pathname} cannot be had: ${response.status} ${response.statusText}`);
  return response;
}

/** Contents of a file with this SHA-256, from the cache if they are there; where there is no cache, from the server. */
async function verified(url, sha256) {
  const key = `${url}?${sha256}`;
  const cache = await globalThis.caches?.open(CACHE);
  const cached = await cache?.match(key);
  const bytes = new Uint8Array(await (cached ?? (await download(url))).arrayBuffer());
  if (globalThis.crypto?.subtle) {
    // only a secure page has it; on others the CRC of the latents still guards each tile
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if ([...digest].map((b) => b.toString(16).padStart(2, "0")).join("") !== sha256) {
      await cache?.delete(key);
      throw new LatError(`${url.pathname} is not the file that was published: load the page again`);
    }
  }
  if (cache && !cached) await cache.put(key, new Response(bytes)).catch(() => {}); // no room is no error
  return bytes;
}

/** onnxruntime-web; with WebGPU where there is a real GPU, and the browser can wait for it inside WebAssembly. */
async function startRuntime({ threads, gpu }) {
  const adapter = gpu && "Suspending" in WebAssembly ? await navigator.gpu?.requestAdapter().catch(() => null) : null;
  const onGpu = Boolean(adapter) && (gpu === "always" || !adapter.info?.isFallbackAdapter);
  const file = onGpu ? "ort.jspi.bundle.min.mjs" : "ort.wasm.bundle.min.mjs";
  const ort = await import(`./ort/${file}`).catch(() => {
    throw new LatError(`ort/${file} cannot be loaded: make this folder again with \`lat web\``);
  });
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
  ort.env.logLevel = "error";
  return { ort, onGpu };
}

/** One set of weights, ready to run. */
export class Network {
  static async create({ ort, onGpu }, files) {
    const { config, z_gain, tables } = JSON.parse(new TextDecoder().decode(files["manifest.json"]));
    const network = new Network();
    network.ort = ort;
    network.config = config;
    network.reach = Math.ceil(config.dec_blocks / 2); // latents beyond its own that a pixel depends on
    network.gains = z_gain; // [row][channel], undo the scaling of ẑ
    network.zTables = new Tables(tables.z);
    const gaussian = tables.y_gaussian;
    network.yTables = [new Tables(tables.y), new Tables([...gaussian, ...tables.y.slice(gaussian.length)])];
    network.sessions = {};
    for (const name of GRAPHS) {
      if (!files[`${name}.onnx`]) throw new FormatError(`the weights lack ${name}.onnx`);
      network.sessions[name] = await ort.InferenceSession.create(files[`${name}.onnx`], {
        executionProviders: [onGpu && name === "g_s" ? "webgpu" : "wasm"], // the entropy model must be exact
        graphOptimizationLevel: "all",
      });
    }
    return network;
  }

  /** -> { reduced, guess } as Float32Arrays; h × w is the size of ẑ. */
  zStart(row, h, w) {
    return this.#run("z_start", { row: this.#int64(row), size: this.#int64(h, w) });
  }

  /** ẑ (Z, h, w), dequantised -> { reduced, guess }; height × width is the size of ŷ. */
  yStart(z, h, w, height, width) {
    return this.#run("y_start", { z: this.#floats(z, h, w), size: this.#int64(height, width) });
  }

  /** Pass t = 1, 2, 3 over ẑ or ŷ -> params. */
  async step(kind, t, { reduced, values, guess, height, width, rows, columns }) {
    const inputs = {
      t: this.#int64(t),
      reduced: this.#floats(reduced, height, width),
      values: this.#floats(values, rows, columns),
      guess: this.#floats(guess, rows, columns),
    };
    return (await this.#run(`${kind}_step`, inputs)).params;
  }

  /** ŷ (M, h, w) -> RGB samples (16h, 16w, 3), uint8. */
  async synthesise(y, row, h, w) {
    return (await this.#run("g_s", { y: this.#floats(y, h, w), row: this.#int64(row) })).pixels;
  }

  #floats(data, h, w) {
    return new this.ort.Tensor("float32", data, [1, data.length / (h * w), h, w]);
  }

  #int64(...values) {
    return new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [values.length]);
  }

  async #run(name, inputs) {
    const outputs = await this.sessions[name].run(inputs);
    return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
  }
}
