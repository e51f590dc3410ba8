// Starts the real binary for the tests of this folder.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const checkout = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "retrieverkeys-e2e-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

let built;

// binary returns the program's path. RETRIEVERKEYS names an existing binary, such as one that contains the playground.
export function binary() {
  if (process.env.RETRIEVERKEYS) return process.env.RETRIEVERKEYS;
  if (!built) {
    built = join(folder, "retrieverkeys");
    execFileSync("go", ["build", "-o", built, "."], { cwd: checkout, stdio: "inherit" });
  }
  return built;
}

let servers = 0;

const demoQuery = `{ retriever(id: "product-search") { apiKeys(includeRevoked: true) { total results { name status lastUsedAt createdBy } } } }`;

// start serves the demo from a new store on a free port. When the demo is ready, it resolves to an object with the server's URL, the demo's
// namespace and admin key, the links to the console and to the playground, and the log. settings contains environment variables; those of a
// server that has stopped serve its store again, at the same address.
export function start(settings = {}) {
  const env = {
    PATH: process.env.PATH, HOME: folder, LISTEN_ADDR: "127.0.0.1:0", ADMIN_ADDR: "off", LOG_FORMAT: "json",
    EMBEDDED_PATH: join(folder, `store-${++servers}.db`), DEMO: "true", ...settings,
  };
  const child = spawn(binary(), ["serve"], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
  const server = {
    log,
    settings: env,
    headers: {},
    // run runs another command on the same store and returns its output.
    run: (...args) => execFileSync(binary(), args, { cwd: folder, env, encoding: "utf8" }),
    // load imports documents.
    load(documents) {
      const file = join(folder, "import.json");
      writeFileSync(file, JSON.stringify(documents));
      return server.run("import", file);
    },
    async stop() {
      child.kill("SIGTERM");
      return exited;
    },
  };
  return new Promise((resolve, reject) => {
    exited.then((code) => reject(new Error(`the server ended with ${code}:\n${log.join("\n")}`)));
    createInterface(child.stderr).on("line", (line) => log.push(line));
    createInterface(child.stdout).on("line", (line) => {
      const [, name, value] = /^ {2}(Namespace|Admin key|Console|GraphQL) +(\S+)$/.exec(line) ?? [];
      if (!name) return;
      server[{ Namespace: "namespace", "Admin key": "key", Console: "console", GraphQL: "graphql" }[name]] = value;
      if (name !== "GraphQL") return;
      server.url = new URL(value).origin;
      server.headers = { authorization: `Bearer ${server.key}`, "x-namespace": server.namespace };
      const headers = { Authorization: `Bearer ${server.key}`, "X-Namespace": server.namespace };
      server.playground = `${server.url}/playground#headers=${encodeURIComponent(JSON.stringify(headers))}&query=${encodeURIComponent(demoQuery)}`;
      server.settings.LISTEN_ADDR = new URL(value).host;
      resolve(server);
    });
  });
}
