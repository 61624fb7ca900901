// Runs before the agent's code, in the same interpreter. It takes the functions
// of the host away from the global object, and leaves what an agent may use.
(function (global) {
  "use strict";
  const host = {};
  for (const name of ["emit", "read", "write", "append", "list", "exists", "remove", "mkdir"]) {
    host[name] = global["__host_" + name];
    delete global["__host_" + name];
  }
  const { stringify } = JSON;
  const text = String;

  // show is how a value looks in the output.
  function show(v) {
    if (typeof v === "string") return v;
    if (typeof v === "bigint") return text(v) + "n";
    if (typeof v === "function") return "[Function: " + (v.name || "anonymous") + "]";
    if (v === null || typeof v !== "object") return text(v);
    if (v instanceof Error) return text(v) + (v.stack ? "\n" + text(v.stack).trimEnd() : "");
    if (v instanceof Map) return "Map " + show([...v]);
    if (v instanceof Set) return "Set " + show([...v]);
    try {
      const plain = stringify(v, (_, x) => (typeof x === "bigint" ? text(x) + "n" : x));
      if (plain === undefined) return text(v);
      return plain.length <= 100 ? plain : stringify(v, (_, x) => (typeof x === "bigint" ? text(x) + "n" : x), 2);
    } catch {
      return Object.prototype.toString.call(v);
    }
  }
  const print = (...args) => { host.emit(args.map(show).join(" ") + "\n"); };
  const constant = (object, properties) => {
    for (const [k, value] of Object.entries(properties)) Object.defineProperty(object, k, { value, enumerable: true });
    return object;
  };

  function path(p) {
    if (typeof p !== "string" || p === "") throw new TypeError("the path must be a string");
    return p;
  }
  function content(c) {
    if (typeof c !== "string") throw new TypeError("the content must be a string; use JSON.stringify for objects");
    return c;
  }
  const fs = constant({}, {
    readFile: (p) => host.read(path(p)),
    readLines(p) {
      const lines = host.read(path(p)).split(/\r?\n/);
      if (lines.at(-1) === "") lines.pop();
      return lines;
    },
    writeFile: (p, c) => { host.write(path(p), content(c)); },
    appendFile: (p, c) => { host.append(path(p), content(c)); },
    listFiles: (p = "/workspace") => JSON.parse(host.list(path(p))),
    exists: (p) => host.exists(path(p)),
    remove: (p) => { host.remove(path(p)); },
    mkdir: (p) => { host.mkdir(path(p)); },
  });

  // parseCSV reads RFC 4180, with the line ends of any system.
  function parseCSV(source, { header = false, delimiter = "," } = {}) {
    content(source);
    if (typeof delimiter !== "string" || delimiter.length !== 1) throw new TypeError("the delimiter must be one character");
    const rows = [];
    let row = [], field = "", quoted = false, i = source.charCodeAt(0) === 0xfeff ? 1 : 0;
    const endField = () => { row.push(field); field = ""; };
    const endRow = () => { endField(); rows.push(row); row = []; };
    for (; i < source.length; i++) {
      const c = source[i];
      if (quoted) {
        if (c !== '"') field += c;
        else if (source[i + 1] === '"') { field += c; i++; }
        else quoted = false;
      } else if (c === '"' && field === "") quoted = true;
      else if (c === delimiter) endField();
      else if (c === "\n" || c === "\r") {
        if (c === "\r" && source[i + 1] === "\n") i++;
        endRow();
      } else field += c;
    }
    if (quoted) throw new SyntaxError("the CSV ends inside of a quoted field");
    if (field !== "" || row.length > 0) endRow();
    if (!header) return rows;
    const names = rows.shift() ?? [];
    return rows.map((r) => Object.fromEntries(names.map((n, k) => [n, r[k] ?? ""])));
  }

  const define = (name, value) => Object.defineProperty(global, name, { value, writable: true, configurable: true, enumerable: false });
  define("print", print);
  define("console", constant({}, { log: print, info: print, debug: print, warn: print, error: print }));
  define("fs", fs);
  define("parseCSV", parseCSV);
  return show;
})(globalThis)
