// The page's side: takes a model and a prompt, and shows what the worker says.
"use strict";

const $ = (id) => document.getElementById(id);
let worker = null;
let busy = null; // "load" or "generate"

const megabytes = (bytes) => `${Math.round(bytes / 1e6).toLocaleString("en")} MB`;
const rate = (tokens, seconds) => (tokens > 0 && seconds > 0 ? `${(tokens / seconds).toFixed(1)} tokens/s` : "–");

function setBusy(what) {
  busy = what;
  $("generate").disabled = !$("model").dataset.ready || busy !== null;
  $("stop").disabled = busy === null;
  $("output").setAttribute("aria-busy", String(busy === "generate"));
  $("bar").hidden = busy === null;
  $("bar").removeAttribute("value");
}

/** What a field says, within its limits. */
function number(id) {
  const { value, min, max } = $(id);
  return Math.min(Math.max(Number(value), Number(min)), Number(max));
}

const say = (text) => ($("status").textContent = text);

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = message === "";
}

function forget() {
  if (worker) worker.terminate();
  worker = null;
  delete $("model").dataset.ready;
  $("model").textContent = "none yet";
}

const hear = {
  progress({ done, size }) {
    $("bar").max = size;
    $("bar").value = done;
    say(`Loading: ${megabytes(done)} of ${megabytes(size)}`);
  },
  loaded({ name, size, about, build, threads, context, canChat, memory, seconds }) {
    $("model").dataset.ready = "yes";
    $("model").textContent = `${name} (${about}, ${megabytes(size)}), context of ${context} tokens`;
    $("engine").textContent = crossOriginIsolated
      ? `${build}; with threads: ${threads}`
      : `${build}; without threads, as this page is not cross-origin isolated`;
    $("memory").textContent = megabytes(memory);
    $("chat").disabled = !canChat;
    if (!canChat) $("chat").checked = false;
    say(`Loaded in ${seconds.toFixed(1)} s.`);
    setBusy(null);
    $("prompt").focus();
  },
  reading({ done, total, seconds }) {
    $("bar").max = total;
    $("bar").value = done;
    say(`Reading the prompt: ${done} of ${total} tokens`);
    $("prefill").textContent = rate(done, seconds);
  },
  text({ text, tokens, seconds }) {
    $("bar").hidden = true;
    if (tokens === 1) say("Writing …");
    $("output").append(text); // as text, never as markup
    $("decode").textContent = rate(tokens - 1, seconds);
  },
  done({ ended, read, written, memory }) {
    const why = {
      stop: "stopped",
      length: "as many as were asked for",
      end: "the model ended its text",
      context: "the context is full",
    }[ended];
    say(`${written.tokens} tokens written: ${why}.`);
    $("prefill").textContent = `${rate(read.tokens, read.seconds)} (${read.tokens} tokens)`;
    $("decode").textContent = `${rate(written.tokens - 1, written.seconds)} (${written.tokens} tokens)`;
    $("memory").textContent = megabytes(memory);
    setBusy(null);
  },
  failed({ message, fatal }) {
    if (fatal) forget();
    fail(message);
    say(fatal ? "No model is loaded." : "Nothing was written.");
    setBusy(null);
  },
};

/** `source`: {file} or {url}. */
function load(source) {
  forget();
  fail("");
  setBusy("load");
  say("Loading …");
  worker = new Worker("worker.js");
  worker.onmessage = ({ data }) => hear[data.type](data);
  worker.onerror = (event) =>
    hear.failed({ message: `the engine does not start: ${event.message || "its files are missing; run examples/web/build"}`, fatal: true });
  const threads = crossOriginIsolated ? number("threads") : 1;
  worker.postMessage({ type: "load", ...source, threads, context: number("context") });
}

function generate() {
  $("output").textContent = $("chat").checked ? "" : $("prompt").value;
  $("prefill").textContent = $("decode").textContent = "–";
  fail("");
  setBusy("generate");
  const seed = $("seed").value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : number("seed");
  worker.postMessage({
    type: "generate",
    prompt: $("prompt").value,
    chat: $("chat").checked,
    maxTokens: number("tokens"),
    temperature: number("temperature"),
    seed,
  });
}

function stop() {
  if (busy === "generate") {
    worker.postMessage({ type: "stop" });
  } else {
    forget();
    say("Loading stopped.");
    setBusy(null);
  }
}

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length > 0) load({ file: target.files[0] });
  target.value = ""; // so that the same file can be chosen again
});

$("from-url").addEventListener("submit", (event) => {
  event.preventDefault();
  load({ url: new URL($("url").value, location.href).href });
});

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("generate").disabled) generate();
});

$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});

$("stop").addEventListener("click", stop);
addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && busy !== null) stop();
});

// A file may be dropped anywhere; without this a near miss would leave the page for it.
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) $("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (busy === null && event.dataTransfer.files.length > 0) load({ file: event.dataTransfer.files[0] });
});

const cores = navigator.hardwareConcurrency || 1;
$("threads").max = cores;
$("threads").value = Math.min(cores, 8);
$("threads").disabled = !crossOriginIsolated;
setBusy(null);
const asked = new URLSearchParams(location.search).get("model");
if (asked) {
  $("url").value = asked;
  load({ url: new URL(asked, location.href).href });
}
