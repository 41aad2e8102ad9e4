// The playground: one page over the server's own HTTP interface (docs/interfaces.md). No library, no build step.
"use strict";

const $ = (id) => document.getElementById(id);
const RUNNERS = { python: "python_wasi_runner", javascript: "javascript_wasi_runner", ruby: "ruby_wasi_runner" };

const EXAMPLES = {
  python: {
    Primes: "def primes(limit):\n    sieve = bytearray([1]) * (limit + 1)\n    for n in range(2, limit + 1):\n        if sieve[n]:\n            yield n\n            sieve[n * n :: n] = bytes(len(range(n * n, limit + 1, n)))\n\nlist(primes(100))\n",
    "Output as it comes": "import time\n\nfor i in range(5):\n    print(\"step\", i)\n    time.sleep(0.5)\n",
    "A table (pandas)": "# packages: pandas\nimport pandas as pd\n\nframe = pd.DataFrame({\"city\": [\"Bern\", \"Oslo\", \"Rome\"], \"rain\": [1059, 763, 799]})\nframe.sort_values(\"rain\")\n",
    "A figure (matplotlib)": "# packages: matplotlib\nimport matplotlib.pyplot as plt\n\nxs = [x / 10 for x in range(100)]\nplt.plot(xs, [x * (10 - x) for x in xs])\nplt.title(\"saved by itself\")\n",
    "Files": "with open(\"/output/report.csv\", \"w\") as file:\n    file.write(\"a,b\\n1,2\\n\")\n",
    "What is not allowed": "import urllib.request\n\nurllib.request.urlopen(\"http://example.com\")\n",
    "An endless loop": "while True:\n    pass\n",
  },
  ruby: {
    Squares: "squares = (1..10).map { |n| n * n }\nputs squares.sum\nsquares.select(&:even?)\n",
  },
  javascript: {
    Fibonacci: "const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));\nfib(20)\n",
    Timers: "let n = 0;\nconst timer = setInterval(() => {\n  console.log(\"tick\", ++n);\n  if (n === 3) clearInterval(timer);\n}, 300);\n\"started\"\n",
    Classes: "class Stack {\n  #items = [];\n  push(item) { this.#items.push(item); return this; }\n  get size() { return this.#items.length; }\n}\nnew Stack().push(1).push(2).size\n",
  },
};

// ---- Highlighting: tokens by one expression a language; what is none stays plain.
const WORDS = {
  python: "and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield True False None",
  ruby: "alias and begin break case class def defined? do else elsif end ensure false for if in module next nil not or redo rescue retry return self super then true undef unless until when while yield require puts",
  javascript: "async await break case catch class const continue debugger default delete do else export extends finally for function if import in instanceof let new of return static super switch this throw try typeof var void while yield true false null undefined",
};
const TOKENS = {
  python: /(?<c>#[^\n]*)|(?<s>[rbfuRBFU]{0,2}(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))|(?<n>\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*\.?[\d_]*(?:[eE][+-]?\d+)?j?)\b)|(?<w>[A-Za-z_]\w*)/g,
  ruby: /(?<c>#[^\n]*)|(?<s>"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|:[A-Za-z_]\w*)|(?<n>\b\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?\b)|(?<w>[A-Za-z_]\w*[?!]?)/g,
  javascript: /(?<c>\/\/[^\n]*|\/\*[^]*?(?:\*\/|$))|(?<s>`(?:\\.|[^`\\])*`?|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|(?<n>\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*\.?[\d_]*(?:[eE][+-]?\d+)?n?)\b)|(?<w>[A-Za-z_$][\w$]*)/g,
};

function paint() {
  const code = $("code").value, target = $("paint"), language = $("language").value;
  const words = new Set(WORDS[language].split(" "));
  const put = (text, kind) => {
    const node = kind ? document.createElement("span") : document.createTextNode(text);
    if (kind) { node.className = kind; node.textContent = text; }
    target.append(node);
  };
  target.textContent = "";
  let at = 0, former = "";
  for (const match of code.matchAll(TOKENS[language])) {
    put(code.slice(at, match.index));
    const { c, s, n, w } = match.groups;
    const named = w && ["def", "class", "function"].includes(former);
    put(match[0], c ? "c" : s ? "s" : n ? "n" : words.has(w) ? "k" : named ? "d" : "");
    if (w) former = w;
    at = match.index + match[0].length;
  }
  put(code.slice(at) + "\n"); // so that the last line can be scrolled to
  follow();
}

function follow() {
  $("paint").scrollTop = $("code").scrollTop;
  $("paint").scrollLeft = $("code").scrollLeft;
}

// ---- Talking to the server.
function headers(more) {
  const token = $("token").value;
  return { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}), ...more };
}

async function api(method, path, body) {
  const response = await fetch(path, { method, headers: headers(), body: body === undefined ? undefined : JSON.stringify(body) });
  const answer = await response.json();
  if (response.status === 401) throw askForToken();
  if (!response.ok) throw new Error(answer.error?.message ?? response.statusText);
  return answer;
}

// What to show instead of the answer, which speaks of headers.
class NotAllowed extends Error {}

function askForToken() {
  $("token-label").hidden = false;
  $("token").focus();
  return new NotAllowed($("token").value
    ? "The server does not know this token. Check it in the field Token, at the top, and run again."
    : "The server wants a token. Type yours in the field Token, at the top, and run again.");
}

// Server-sent events of a POST: calls `on(event, data)` for each.
async function stream(path, body, signal, on) {
  const response = await fetch(path, { method: "POST", headers: headers({ Accept: "text/event-stream" }), body: JSON.stringify(body), signal });
  if (response.status === 401) throw askForToken();
  if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) return on("result", await response.json());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const lines = held.slice(0, end).split("\n");
      const field = (name) => lines.filter((l) => l.startsWith(`${name}: `)).map((l) => l.slice(name.length + 2)).join("\n");
      on(field("event"), JSON.parse(field("data")));
    }
  }
}

// ---- Output.
function add(tag, kind, text) {
  const node = document.createElement(tag);
  node.className = kind;
  if (text !== undefined) node.textContent = text;
  $("output").append(node);
  $("output").scrollTop = $("output").scrollHeight;
  return node;
}

let lastPart = null; // consecutive parts of a stream go into one element
function addText(kind, text) {
  if (!lastPart || lastPart.className !== kind) lastPart = add("pre", kind, "");
  lastPart.append(text);
  $("output").scrollTop = $("output").scrollHeight;
}

function bytesOf(artifact) {
  return Uint8Array.from(atob(artifact.bytes_base64), (c) => c.charCodeAt(0));
}

function addArtifact(artifact) {
  if (artifact.mime.startsWith("image/") && artifact.mime !== "image/svg+xml") {
    const image = add("img", "artifact");
    image.alt = artifact.name;
    image.src = `data:${artifact.mime};base64,${artifact.bytes_base64}`;
  } else if (artifact.mime === "text/html") {
    const frame = add("iframe", "artifact"); // a stranger's HTML: no scripts, no forms, an origin of its own
    frame.title = artifact.name;
    frame.setAttribute("sandbox", "");
    const html = new TextDecoder().decode(bytesOf(artifact));
    frame.srcdoc = `<body style="font:13px system-ui,sans-serif;margin:8px">${html}`;
    frame.height = Math.min(420, 60 + 26 * (html.split("<tr").length - 1));
  } else {
    const link = add("a", "artifact", `⤓ ${artifact.name} (${artifact.mime})`);
    link.download = artifact.name.split("/").pop();
    link.href = URL.createObjectURL(new Blob([bytesOf(artifact)], { type: "application/octet-stream" }));
  }
}

function showResult(result) {
  const html = (result.artifacts ?? []).some((a) => a.name === "result.html");
  if (result.result !== undefined && !html) add("pre", "result", result.result);
  (result.artifacts ?? []).forEach(addArtifact);
  if (result.error) add("pre", "error", `${result.error.code}: ${result.error.message}\n${result.error.backtrace ?? ""}`.trimEnd());
  if (result.session_note && !result.error) add("div", "note", result.session_note);
  const u = result.usage;
  const parts = [result.status === "OK" ? `exit code ${result.exit_code}` : result.status];
  if (u) {
    parts.push(`${u.wall_ms.toFixed(1)} ms`, `CPU ${u.cpu_ms.toFixed(1)} ms`, `${(u.peak_memory_bytes / 1048576).toFixed(1)} MiB`);
    if (u.fuel) parts.push(`fuel ${u.fuel}`);
    parts.push(`${result.isolation.length} layers`);
  }
  if (result.session_state) parts.push(`session: ${result.session_state}`);
  $("usage").textContent = parts.join("  ·  ");
  $("usage").title = (result.isolation ?? []).join(", ");
}

// ---- Running.
let session = null; // the id that runs go to; null: a fresh sandbox each
let running = null; // an AbortController

function parameters() {
  const given = { code: $("code").value };
  if ($("stdin").value) given.stdin = $("stdin").value;
  if ($("timeout").value) given.execution_timeout_ms = Math.round($("timeout").value * 1000);
  if (session) return given;
  return { ...given, ...fixed() };
}

// What a session has from its beginning.
function fixed() {
  const given = {};
  const packages = ($("packages").value || $("code").value.match(/^# packages: *(.*)$/m)?.[1] || "").split(/[\s,]+/).filter(Boolean);
  if (packages.length && $("language").value === "python") given.packages = packages;
  if ($("memory").value) given.memory_limit_bytes = Math.round($("memory").value * 1048576);
  return given;
}

async function run() {
  if (running) return;
  running = new AbortController();
  $("run").disabled = true;
  $("stop").disabled = false;
  $("output").textContent = "";
  $("usage").textContent = "running…";
  lastPart = null;
  const on = (event, data) => (event === "result" ? showResult(data) : addText(event, data.text));
  try {
    const body = session ? parameters() : { tool: RUNNERS[$("language").value], parameters: parameters() };
    await stream(session ? `/sessions/${session}/run` : "/tools/execute", body, running.signal, on);
  } catch (error) {
    const stopped = error.name === "AbortError";
    const text = error instanceof NotAllowed ? error.message : `no answer from the server: ${error.message}`;
    add("pre", "error", stopped ? "stopped" : text);
    $("usage").textContent = stopped ? "stopped" : "";
  }
  running = null;
  $("run").disabled = false;
  $("stop").disabled = true;
  await refresh();
}

// In a session, the turn is ended and tells so; a fresh run ends with its connection.
async function stop() {
  if (!running) return;
  if (session) await api("POST", `/sessions/${session}/interrupt`, {}).catch(() => running?.abort());
  else running.abort();
}

// ---- Sessions.
function choose(id, language) {
  session = id;
  if (language) setLanguage(language);
  $("language").disabled = $("packages").disabled = $("memory").disabled = id !== null;
  $("leave").disabled = id === null;
  $("where").textContent = id ? `in session ${id.slice(0, 8)}` : "in a fresh sandbox";
  refresh();
}

function button(text, title, action) {
  const node = document.createElement("button");
  node.className = "small";
  node.textContent = text;
  node.title = title;
  node.addEventListener("click", () => act(action));
  return node;
}

async function act(action) {
  try {
    await action();
  } catch (error) {
    add("pre", "error", error.message);
  }
  await refresh();
}

function row(info) {
  const line = document.createElement("div"), at = `/sessions/${info.session_id}`;
  line.className = info.session_id === session ? "row here" : "row";
  const name = document.createElement("button"), about = document.createElement("span");
  name.className = "name";
  name.textContent = info.session_id.slice(0, 8);
  name.title = "Run here";
  name.addEventListener("click", () => choose(info.session_id, info.language));
  about.className = "about";
  about.textContent = `${info.language} · ${info.turns} ${info.turns === 1 ? "turn" : "turns"} · ${(info.memory_bytes / 1048576).toFixed(0)} MiB · ${info.state}`;
  line.append(name, about,
    button("branch", "A copy that goes its own way", async () => choose((await api("POST", `${at}/fork`, {})).sessions[0].session_id)),
    button("checkpoint", "Remember this state", () => api("POST", `${at}/checkpoint`, {})));
  for (const point of info.checkpoints)
    line.append(button(`↩ ${point.checkpoint_id}`, `Back to after turn ${point.turns}`, () => api("POST", `${at}/rollback`, { checkpoint_id: point.checkpoint_id })));
  line.append(button("✕", "Close", async () => {
    await api("DELETE", at);
    if (session === info.session_id) choose(null);
  }));
  return line;
}

// The fields take what the server takes.
async function showLimits() {
  try {
    const { tools } = await api("GET", "/tools/list");
    const limits = tools.find((tool) => tool.name === RUNNERS.python).input_schema.properties;
    const show = (id, limit, unit, value) => {
      if (limit.maximum) $(id).max = Math.floor(limit.maximum / unit);
      if (limit.default) $(id)[value] = Math.floor(limit.default / unit) || 1;
    };
    show("timeout", limits.execution_timeout_ms, 1000, "value");
    show("memory", limits.memory_limit_bytes, 1048576, "placeholder");
  } catch {
    return; // the next action tells
  }
}

async function refresh() {
  let list = [];
  try {
    list = (await api("GET", "/sessions")).sessions;
  } catch {
    return; // the next action tells
  }
  const known = new Set(list.map((info) => info.session_id));
  if (session && !known.has(session)) choose(null);
  const branch = (parent) => list.filter((i) => (known.has(i.parent) ? i.parent : null) === parent).sort((a, b) => a.created - b.created).map((info) => {
    const item = document.createElement("li"), below = branch(info.session_id);
    item.setAttribute("role", "treeitem");
    item.setAttribute("aria-selected", String(info.session_id === session));
    item.append(row(info));
    if (below.length) {
      const group = document.createElement("ul");
      group.setAttribute("role", "group");
      group.append(...below);
      item.append(group);
    }
    return item;
  });
  $("tree").replaceChildren(...branch(null));
  $("no-sessions").hidden = list.length > 0;
}

// ---- The page.
function setLanguage(language) {
  if ($("language").value === language && $("example").options.length > 1) return paint();
  $("language").value = language;
  $("example").replaceChildren(new Option("choose…", ""), ...Object.keys(EXAMPLES[language]).map((name) => new Option(name, name)));
  paint();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}

function edit(event) {
  const box = event.target, from = box.selectionStart, indent = $("language").value === "python" ? "    " : "  ";
  if (event.key === "Tab" && !event.shiftKey && !event.ctrlKey && !event.altKey && from === box.selectionEnd) {
    event.preventDefault(); // Escape, then Tab, leaves the editor
    document.execCommand("insertText", false, indent);
  } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
    const line = box.value.slice(box.value.lastIndexOf("\n", from - 1) + 1, from);
    event.preventDefault();
    document.execCommand("insertText", false, "\n" + line.match(/^\s*/)[0] + (/[:{]\s*$/.test(line) ? indent : ""));
  }
}

$("code").addEventListener("input", paint);
$("code").addEventListener("scroll", follow);
$("code").addEventListener("keydown", edit);
$("language").addEventListener("change", () => {
  const language = $("language").value;
  $("example").replaceChildren();
  setLanguage(language);
});
$("example").addEventListener("change", () => {
  const text = EXAMPLES[$("language").value][$("example").value];
  if (text) $("code").value = text;
  paint();
});
$("run").addEventListener("click", run);
$("stop").addEventListener("click", stop);
$("leave").addEventListener("click", () => choose(null));
$("new-session").addEventListener("click", () =>
  act(async () => choose((await api("POST", "/sessions", { language: $("language").value, ...fixed() })).session_id)));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("token").addEventListener("change", refresh);
$("token").addEventListener("change", showLimits);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  } else if (event.key === "Escape") {
    if (running) stop();
    else if (document.activeElement === $("code")) $("run").focus();
  }
});
setTheme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("example").replaceChildren();
setLanguage("python");
$("code").value = EXAMPLES.python.Primes;
paint();
refresh();
showLimits();
$("code").focus();
