// Runs inside QuickJS, started as `qjs --std -e THIS`. It reads its job in front of the standard input, which is
// otherwise the program's own: that first read is where a warm interpreter is forked (docs/architecture.md).
//
// The job: its length in 4 bytes, then JSON in ASCII: source, args, env, seed (of Math.random, 4 numbers; null: as the
// interpreter has it), and modes: "a" if an answer is wanted, and "s" in a session. The answer is written to the standard
// input: JSON with what the last expression's value is. Reading on after an answer ends a session's turn, and what comes
// is the next job.
(() => {
  const { std, os } = globalThis;
  const write = (file, values) => {
    // What is written is with the host at once, even if the run is stopped before the program ends.
    file.puts(values.map((v) => (typeof v === "string" ? v : show(v))).join(" ") + "\n");
  };
  const show = (value, depth = 0, seen = []) => {
    if (typeof value === "string") return depth > 0 ? JSON.stringify(value) : value;
    if (typeof value === "function") return `[Function: ${value.name || "(anonymous)"}]`;
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "symbol" || value === null || typeof value !== "object") return String(value);
    if (value instanceof Error) return `${value}\n${value.stack ?? ""}`.trimEnd();
    if (value instanceof Date) return value.toISOString();
    if (seen.includes(value)) return "[Circular]";
    if (depth > 3) return Array.isArray(value) ? "[Array]" : "[Object]";
    const inner = (v) => show(v, depth + 1, [...seen, value]);
    if (Array.isArray(value) || ArrayBuffer.isView(value)) return `[ ${Array.from(value, inner).join(", ")} ]`.replace("[  ]", "[]");
    if (value instanceof Map) return `Map(${value.size}) {${[...value].map(([k, v]) => ` ${inner(k)} => ${inner(v)}`).join(",")} }`;
    if (value instanceof Set) return `Set(${value.size}) {${[...value].map((v) => ` ${inner(v)}`).join(",")} }`;
    const name = value.constructor?.name;
    const body = Object.keys(value).map((k) => ` ${/^[A-Za-z_$][\w$]*$/.test(k) ? k : JSON.stringify(k)}: ${inner(value[k])}`).join(",");
    return `${name && name !== "Object" ? name + " " : ""}{${body}${body ? " " : ""}}`;
  };
  const out = (...values) => write(std.out, values);
  const err = (...values) => write(std.err, values);
  // Pieces of lines likewise.
  for (const file of [std.out, std.err])
    for (const name of ["puts", "printf", "putByte", "write"]) {
      const plain = file[name].bind(file);
      file[name] = (...values) => {
        const result = plain(...values);
        file.flush();
        return result;
      };
    }
  globalThis.std = { ...std, puts: std.out.puts, printf: std.out.printf };
  globalThis.console = { log: out, info: out, debug: out, dir: out, warn: err, error: err, trace: err };
  globalThis.print = out;

  // A session's turn lasts as long as there are timers: they are counted.
  const timers = new Set();
  const add = (start, once) => (action, delay, ...values) => {
    const timer = start(() => {
      if (once) timers.delete(timer);
      try { action(...values); } catch (error) { fail(error); }
      endIfIdle();
    }, delay ?? 0);
    timers.add(timer);
    return timer;
  };
  const remove = (stop) => (timer) => {
    timers.delete(timer);
    stop(timer);
  };
  globalThis.setTimeout = add(os.setTimeout, true);
  globalThis.setInterval = add(os.setInterval ?? ((action, delay) => {
    const again = () => { action(); if (timers.has(timer)) timer.at = os.setTimeout(again, delay); };
    const timer = { at: os.setTimeout(() => again(), delay) };
    return timer;
  }), false);
  globalThis.clearTimeout = globalThis.clearInterval = remove((timer) => os.clearTimeout(timer?.at ?? timer));

  const read = (size) => {
    const bytes = new ArrayBuffer(size);
    for (let at = 0; at < size; ) {
      const got = os.read(0, bytes, at, size - at);
      if (got <= 0) throw new Error("polyagent: the program is cut short");
      at += got;
    }
    return new Uint8Array(bytes);
  };
  const ascii = (bytes) => {
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return text;
  };
  const rotate = (x, k) => (x << k) | (x >>> (32 - k));
  // Forked copies of one generator would all give the same numbers. xoshiro128+ (Blackman, Vigna).
  const reseed = (s) => {
    const next = () => {
      const result = (s[0] + s[3]) >>> 0, t = s[1] << 9;
      s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3], s[2] ^= t, s[3] = rotate(s[3], 11);
      return result;
    };
    Object.defineProperty(Math, "random", {
      value: function random() {
        return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
      },
      writable: true, configurable: true,
    });
  };
  const ascii_json = (value) => JSON.stringify(value).replace(/[^ -~]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  const send = (answer) => {
    const text = ascii_json(answer), bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
    for (let at = 0; at < bytes.length; ) {
      const put = os.write(0, bytes.buffer, at, bytes.length - at);
      if (put <= 0) return; // nobody wants to know
      at += put;
    }
  };
  let job, status, value, settled;
  const fail = (error) => {
    std.out.flush();
    // Frames of this file are no business of the program's author.
    const own = (line) => !line.includes("<cmdline>") && !line.includes("at evalScript (native)");
    const stack = String(error?.stack ?? "").split("\n").filter(own).join("\n").replaceAll("<evalScript>", "<code>").trimEnd();
    std.err.puts(error instanceof Error ? `${error}\n${stack}`.trimEnd() + "\n" : `Uncaught ${show(error)}\n`);
    std.err.flush();
    if (!job.modes.includes("s")) std.exit(1);
    status = 1;
  };
  const settle = (outcome) => {
    settled = true;
    value = outcome;
    std.out.flush();
    if (!job.modes.includes("s") && job.modes.includes("a") && value !== undefined) send({ result: describe(value) });
    endIfIdle();
  };
  const describe = (outcome) => {
    const text = typeof outcome === "string" ? JSON.stringify(outcome) : show(outcome, 0);
    return text.length > 65536 ? `${text.slice(0, 65536)}... (${text.length} characters)` : text;
  };
  const endIfIdle = () => {
    if (!settled || timers.size > 0 || !job.modes.includes("s")) return;
    std.out.flush();
    const answer = { exit_code: status };
    if (value !== undefined) answer.result = describe(value);
    value = undefined;
    send(answer);
    // Not from here: what waits to be done is done first, and no turn nests in another.
    settled = false;
    Promise.resolve().then(begin);
  };
  let fresh = true;
  const begin = () => {
    const head = read(4); // <- the checkpoint, and the end of a session's turn
    job = JSON.parse(ascii(read(head[0] | (head[1] << 8) | (head[2] << 16) | (head[3] * 16777216))));
    if (fresh && job.seed !== null) reseed(job.seed); // the turns of a session go on with their own numbers
    fresh = false;
    status = 0;
    for (const name in job.env) std.setenv(name, job.env[name]);
    scriptArgs.splice(0, scriptArgs.length, ...job.args);
    try {
      std.evalScript(job.source, { async: true }).then(
        (outcome) => settle(outcome?.value),
        (error) => { fail(error); settle(undefined); });
    } catch (error) {
      fail(error);
      settle(undefined);
    }
  };
  begin();
})();
