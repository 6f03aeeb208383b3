// The engine's thread: loads one model and writes with it. Messages in: load, generate, stop. Messages
// out: progress, loaded, reading, text, done, failed. Nothing is sent anywhere but to the page.
"use strict";

const PAGE_BYTES = 65536;
const MOST_PAGES = 65536; // 4 GiB, all that 32 bits can address
// Besides the weights: what code, tokenizer, KV cache and activations need at least, and what to leave for them.
const START_BYTES = 48 * 2 ** 20;
const REST_BYTES = 160 * 2 ** 20;
const SLICE_BYTES = 8 * 2 ** 20;

let engine = null; // Emscripten's module
let memory = null; // its WebAssembly.Memory
let stopped = false;

const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;

/** A view of the engine's memory, not to be kept: the memory may grow, and so move. */
const view = (address, size) => new Uint8Array(memory.buffer, address >>> 0, size);

/** Calls f with the address of a text in the engine's memory. */
function withText(text, f) {
  const bytes = new TextEncoder().encode(text);
  const address = engine._malloc(bytes.length + 1) >>> 0;
  if (address === 0) throw new Error("the page's memory is full; load a smaller model or context");
  view(address, bytes.length).set(bytes);
  view(address + bytes.length, 1)[0] = 0;
  try {
    return f(address);
  } finally {
    engine._free(address);
  }
}

function said() {
  const rest = new Uint8Array(memory.buffer, engine._web_said() >>> 0);
  return new TextDecoder().decode(rest.slice(0, rest.indexOf(0))); // a copy: shared memory cannot be decoded
}

/** The result of one of the engine's functions, unless it failed. */
function checked(result) {
  if (result < 0) throw new Error(said());
  return result;
}

/** Lets messages in, such as one that stops. A timer would wait 4 ms. */
const breathe = (() => {
  const channel = new MessageChannel();
  let go = null;
  channel.port1.onmessage = () => go();
  return () => new Promise((resolve) => {
    go = resolve;
    channel.port2.postMessage(0);
  });
})();

/** The bytes of a file or blob, slice by slice, which in Chromium is twice as fast as its stream. */
async function* slicesOf(blob) {
  for (let begin = 0; begin < blob.size; begin += SLICE_BYTES) {
    yield new Uint8Array(await blob.slice(begin, begin + SLICE_BYTES).arrayBuffer());
  }
}

async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel();
  }
}

/** {name, size, chunks} of a file, or of what an address leads to. */
async function openModel({ file, url }) {
  if (file) return { name: file.name, size: file.size, chunks: slicesOf(file) };
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop()) || url;
  let response;
  try {
    response = await fetch(url, { referrerPolicy: "no-referrer", credentials: "omit" });
  } catch (error) {
    const { origin } = new URL(url);
    if (origin === location.origin) throw new Error(`${url}: the server does not answer (${error.message})`);
    throw new Error(`${url}: cannot be fetched. This page may talk to its own server only, unless that is started ` +
      `with "serve --allow ${origin}", and ${origin} has to allow it, too (CORS). Or download the file and drop it here.`);
  }
  if (!response.ok) {
    throw new Error(`${url}: the server answers with status ${response.status} ${response.statusText}`.trimEnd());
  }
  const length = Number(response.headers.get("content-length"));
  if (length > 0 && !response.headers.get("content-encoding")) {
    return { name, size: length, chunks: chunksOf(response.body) };
  }
  const blob = await response.blob(); // its size is not known before
  return { name, size: blob.size, chunks: slicesOf(blob) };
}

/** A memory that holds `size` bytes and can grow; a browser may refuse to reserve 4 GiB for that. */
function newMemory(size, shared) {
  const initial = Math.ceil((size + START_BYTES) / PAGE_BYTES);
  for (let maximum = MOST_PAGES; ; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial, maximum, shared });
    } catch (error) {
      if (maximum / 2 < initial) {
        throw new Error(`this browser gives the page less than the ${megabytes(initial * PAGE_BYTES)} that this ` +
          `model needs (${error.message}); close other pages, or take a smaller model`);
      }
    }
  }
}

async function startEngine(size, threads) {
  const name = crossOriginIsolated ? "gemma-threads" : "gemma";
  memory = newMemory(size, crossOriginIsolated);
  importScripts(`${name}.js`);
  engine = await createGemma({
    wasmMemory: memory,
    workers: Math.max(threads - 1, 1), // without any, Emscripten waits for ever
    mainScriptUrlOrBlob: new URL(`${name}.js`, location.href).href,
  });
}

/**
 * Copies a model into the engine's memory, chunk by chunk, with news of it ten times a second. Gives the
 * number of bytes: fewer than all if the first tell that this is no GGUF file, and why the engine says.
 */
async function readInto(address, { name, size, chunks }) {
  let done = 0;
  let next = 0;
  for await (const value of chunks) {
    if (done + value.length > size) throw new Error(`${name}: is longer than the ${size} bytes it was said to have`);
    view(address + done, value.length).set(value);
    done += value.length;
    if (done >= 4 && new TextDecoder().decode(view(address, 4).slice()) !== "GGUF") return done;
    if (performance.now() > next) {
      postMessage({ type: "progress", done, size });
      next = performance.now() + 100;
    }
  }
  if (done < size) throw new Error(`${name}: ended after ${done} of ${size} bytes; is the connection gone?`);
  postMessage({ type: "progress", done, size });
  return done;
}

async function load({ file, url, context, threads }) {
  const start = performance.now();
  const model = await openModel({ file, url });
  const most = MOST_PAGES * PAGE_BYTES - REST_BYTES;
  if (model.size > most) {
    throw new Error(`${model.name}: has ${megabytes(model.size)}, but a page can hold a model of at most ` +
      `${megabytes(most)} (WebAssembly has 4 GiB of memory); take a smaller one, or one with fewer bits per weight`);
  }
  await startEngine(model.size, threads);
  const address = engine._web_reserve(model.size) >>> 0;
  if (address === 0) throw new Error(`${model.name}: there is no memory for its ${megabytes(model.size)}`);
  const size = await readInto(address, model);
  withText(model.name, (text) => checked(engine._web_load(address, size, text, context, threads)));
  const [about, build] = said().split("\n");
  postMessage({
    type: "loaded",
    name: model.name,
    size: model.size,
    about,
    build,
    threads,
    context: engine._web_context(),
    canChat: engine._web_can_chat() === 1,
    memory: memory.buffer.byteLength,
    seconds: (performance.now() - start) / 1000,
  });
}

async function generate({ prompt, chat, maxTokens, temperature, seed }) {
  stopped = false;
  const total = withText(prompt, (text) => checked(engine._web_begin(text, chat ? 1 : 0, temperature, seed)));
  let seconds = 0; // of the part under way: reading, then writing
  const timed = (step) => {
    const start = performance.now();
    const result = checked(step());
    seconds += (performance.now() - start) / 1000;
    return result;
  };
  let left = total;
  while (left > 0 && !stopped) {
    left = timed(engine._web_read);
    postMessage({ type: "reading", done: total - left, total, seconds });
    await breathe();
  }
  const read = { tokens: total - left, seconds };
  seconds = 0;
  let tokens = 0;
  let ended = "stop";
  while (!stopped) {
    if (tokens === maxTokens) {
      ended = "length";
      break;
    }
    // The first token is drawn from what reading left, and takes no time.
    const more = timed(engine._web_write);
    if (more === 1) tokens += 1;
    postMessage({ type: "text", text: said(), tokens, seconds });
    if (more !== 1) {
      ended = more === 0 ? "end" : "context";
      break;
    }
    await breathe();
  }
  postMessage({ type: "done", ended, read, written: { tokens, seconds }, memory: memory.buffer.byteLength });
}

const tasks = { load, generate };

onmessage = async ({ data }) => {
  if (data.type === "stop") {
    stopped = true;
    return;
  }
  try {
    await tasks[data.type](data);
  } catch (error) {
    // A trap of the engine leaves it in no known state.
    const fatal = data.type === "load" || error instanceof WebAssembly.RuntimeError;
    const hint = error instanceof WebAssembly.RuntimeError ? " (the engine stopped; load the model again)" : "";
    postMessage({ type: "failed", message: error.message + hint, fatal });
  }
};
