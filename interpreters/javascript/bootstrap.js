// Runs inside QuickJS, started as `qjs --std -e THIS`. It reads its job in front of the standard input, which is
// otherwise the program's own: that first read is where a warm interpreter is forked (docs/architecture.md).
//
// The job: its length in 4 bytes, then JSON in ASCII: source, args, env, and seed (of Math.random, 4 numbers; null: as
// the interpreter has it).
(() => {
  const { std, os } = globalThis;
  const write = (file, values) => {
    file.puts(values.map((v) => (typeof v === "string" ? v : show(v))).join(" ") + "\n");
    file.flush(); // a line is visible when it is complete, even if the run is stopped before the program ends
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
  globalThis.console = { log: out, info: out, debug: out, dir: out, warn: err, error: err, trace: err };
  globalThis.print = out;
  for (const name of ["setTimeout", "clearTimeout", "setInterval", "clearInterval"]) globalThis[name] ??= os[name];

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
  const fail = (error) => {
    std.out.flush();
    // Frames of this file are no business of the program's author.
    const own = (line) => !line.includes("<cmdline>") && !line.includes("at evalScript (native)");
    const stack = String(error?.stack ?? "").split("\n").filter(own).join("\n").replaceAll("<evalScript>", "<code>").trimEnd();
    std.err.puts(error instanceof Error ? `${error}\n${stack}`.trimEnd() + "\n" : `Uncaught ${show(error)}\n`);
    std.exit(1);
  };

  const head = read(4); // <- the checkpoint
  const job = JSON.parse(ascii(read(head[0] | (head[1] << 8) | (head[2] << 16) | (head[3] * 16777216))));
  if (job.seed !== null) reseed(job.seed);
  for (const name in job.env) std.setenv(name, job.env[name]);
  scriptArgs.splice(0, scriptArgs.length, ...job.args);
  try {
    const ended = std.evalScript(job.source, { async: true });
    ended.then(() => std.out.flush(), fail);
  } catch (error) {
    fail(error);
  }
})();
