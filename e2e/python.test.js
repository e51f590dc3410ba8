// The API as programs in Python use it: gql builds a schema of the server's introspection, checks operations and reads answers by it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { start } from "./server.js";

const here = import.meta.dirname;
const venv = mkdtempSync(join(tmpdir(), "retrieverkeys-python-"));
const python = join(venv, "bin/python");
let server;

before(async () => {
  execFileSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
  execFileSync(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", join(here, "requirements.txt")], { stdio: "inherit" });
  server = await start();
});
after(async () => {
  await server?.stop();
  rmSync(venv, { recursive: true, force: true });
});

// run runs one function of client.py.
const run = (test) => execFileSync(python, [join(here, "client.py"), test], {
  env: { ...process.env, GRAPHQL_URL: server.graphql, GRAPHQL_HEADERS: JSON.stringify(server.headers) }, stdio: "inherit",
});

describe("Python's gql, with graphql-core 3.2", () => {
  it("builds the schema, of all that introspection can tell", () => run("schema"));
  it("asks with variables of every kind", () => run("variables"));
  it("pages through a list", () => run("pages"));
  it("tells an error by its code", () => run("errors"));
});
