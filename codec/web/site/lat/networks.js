/**
 * The networks of a set of weights, run by onnxruntime-web. What goes in and out is described in codec/engine/onnx_graphs.py.
 *
 * models/index.json lists the sets of weights: { fingerprint: { name, files: { "g_s.onnx": SHA-256, … } } }.
 */

import { FormatError, LatError, MissingModelError } from "./errors.js";
import { Tables } from "./rans.js";

const CACHE = "lat-models"; // files in it are named by their contents, and never go stale
const STEPS = ["z", "y"].flatMap((kind) => [1, 2, 3].map((t) => `${kind}_step_${t}`));
const GRAPHS = ["z_start", "y_start", ...STEPS, "g_s"];

const WORTH_A_GPU = 2e6; // pixels; smaller pictures are there before another runtime is

/** Loads each set of weights once. */
export class Networks {
  #base = new URL("models/", import.meta.url);
  #options;
  #runtime = null; // runs everything
  #gpu; // another one, for g_s alone; null where there is none
  #index = null;
  #loaded = new Map();

  /**
   * threads: of the runtime; gpu: true takes a GPU for small pictures too, and software in its place; false none.
   *
   * @param {{ threads?: number, gpu?: boolean }} options
   */
  constructor({ threads, gpu } = {}) {
    this.#options = { threads: threads ?? Math.min(4, navigator.hardwareConcurrency || 1), gpu };
  }

  /** The set of weights with a fingerprint, for a picture of so many pixels. Throws MissingModelError, LatError. */
  async for(fingerprint, pixels) {
    const { gpu } = this.#options;
    if (!this.#loaded.has(fingerprint)) this.#loaded.set(fingerprint, await this.#load(fingerprint));
    const network = this.#loaded.get(fingerprint);
    if (gpu === true || (gpu !== false && pixels > WORTH_A_GPU)) {
      if (this.#gpu === undefined)
        this.#gpu = (await hasGpu(gpu)) ? await runtime("ort.jspi.bundle.min.mjs", 1).catch(() => null) : null; // offline
      if (this.#gpu) await network.moveTo(this.#gpu);
    }
    return network;
  }

  async #load(fingerprint) {
    this.#index ??= await (await download(new URL("index.json", this.#base))).json();
    const model = this.#index[fingerprint];
    if (!model) {
      const names = Object.values(this.#index).map(({ name }) => name);
      throw new MissingModelError(
        `written with weights ${fingerprint}, which are not here; here are: ${names.join(", ")}`,
      );
    }
    const threads = globalThis.crossOriginIsolated ? this.#options.threads : 1;
    this.#runtime ??= await runtime("ort.wasm.bundle.min.mjs", threads);
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

/** A build of onnxruntime-web. Throws LatError. */
async function runtime(file, threads) {
  const ort = await import(`./ort/${file}`).catch(() => {
    throw new LatError(`ort/${file} cannot be loaded: make this folder again with \`lat web\``);
  });
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return ort;
}

/** Whether there is WebGPU that can be waited for inside WebAssembly; software in its place counts where gpu is true. */
async function hasGpu(gpu) {
  if (!("Suspending" in WebAssembly)) return false;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && (gpu === true || !adapter.info?.isFallbackAdapter);
}

/** One set of weights, ready to run. */
export class Network {
  #sessions = {}; // by name: { ort, session }
  config;
  reach; // latents beyond its own that a pixel depends on
  gains; // [row][channel], undo the scaling of ẑ
  zTables;
  yTables;

  /** files: contents by name, as `lat onnx` writes them. */
  static async create(ort, files) {
    const { config, z_gain, tables } = JSON.parse(new TextDecoder().decode(files["manifest.json"]));
    const network = new Network();
    network.config = config;
    network.reach = Math.ceil(config.dec_blocks / 2);
    network.gains = z_gain;
    network.zTables = new Tables(tables.z);
    const gaussian = tables.y_gaussian;
    network.yTables = [new Tables(tables.y), new Tables([...gaussian, ...tables.y.slice(gaussian.length)])];
    for (const name of GRAPHS) {
      if (!files[`${name}.onnx`]) throw new FormatError(`the weights lack ${name}.onnx`);
      network.#sessions[name] = await opened(ort, files[`${name}.onnx`], "wasm");
    }
    network.synthesis = files["g_s.onnx"];
    return network;
  }

  /** Have g_s run on WebGPU, where its driver takes it. The entropy model stays: it must be exact. */
  async moveTo(ort) {
    if (!this.synthesis) return;
    const onGpu = await opened(ort, this.synthesis, "webgpu").catch(() => null);
    if (onGpu) this.#sessions.g_s = onGpu;
    this.synthesis = null;
  }

  /** -> { reduced, guess_0 … guess_3 } as Float32Arrays; h × w is the size of ẑ. */
  zStart(row, h, w) {
    return this.#run("z_start", { row: whole(row), size: whole(h, w) });
  }

  /** ẑ (Z, h, w), dequantised -> { reduced, guess_0 … guess_3 }; height × width is the size of ŷ. */
  yStart(z, h, w, height, width) {
    return this.#run("y_start", { z: plane(z, h, w), size: whole(height, width) });
  }

  /** Pass t = 1, 2, 3 over ẑ or ŷ -> params. */
  async step(kind, t, { reduced, values, guess, height, width, rows, columns }) {
    const inputs = {
      reduced: plane(reduced, height, width),
      values: plane(values, rows, columns),
      guess: plane(guess, rows, columns),
    };
    return (await this.#run(`${kind}_step_${t}`, inputs)).params;
  }

  /** ŷ (M, h, w) -> RGB samples (16h, 16w, 3), uint8. */
  async synthesise(y, row, h, w) {
    return (await this.#run("g_s", { y: plane(y, h, w), row: whole(row) })).pixels;
  }

  async #run(name, inputs) {
    const { ort, session } = this.#sessions[name];
    const tensors = Object.entries(inputs).map(([key, tensor]) => [key, new ort.Tensor(...tensor)]);
    const outputs = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
  }
}

async function opened(ort, graph, provider) {
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
  });
  return { ort, session };
}

// What makes a tensor: type, data, shape.
const plane = (data, h, w) => ["float32", data, [1, data.length / (h * w), h, w]];
const whole = (...values) => ["int64", BigInt64Array.from(values, BigInt), [values.length]];
