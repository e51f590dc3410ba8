// Generates a Rust client with graphql_client from the server's schema, and runs it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { start } from "./server.js";

const folder = mkdtempSync(join(tmpdir(), "retrieverkeys-rust-"));
const path = `${process.env.PATH}:${join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "bin")}`;
const cargo = (args, input) => execFileSync("cargo", args, { cwd: folder, env: { ...process.env, PATH: path }, encoding: "utf8", input, stdio: ["pipe", "pipe", "inherit"] });
const client = (args, input) => execFileSync(join(folder, "target", "debug", "client"), args, { encoding: "utf8", input }).trim();
let server;

const send = async (body) => (await fetch(`${server.url}/graphql`, {
  method: "POST",
  headers: { Authorization: `Bearer ${server.key}`, "X-Namespace": server.namespace, "Content-Type": "application/json" },
  body,
})).text();

before(async () => {
  server = await start();
  cpSync(join(import.meta.dirname, "rust"), folder, { recursive: true });
  writeFileSync(join(folder, "schema.graphql"), server.run("schema"));
  cargo(["build", "--quiet", "--locked"]);
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it("graphql_client reads a list", async () => {
  const shown = client(["keys"], await send(client(["keys", "product-search"])));
  assert.match(shown, /^.+ ACTIVE\n.+ ACTIVE$/);
});

it("graphql_client renames a key without clearing its fields", async () => {
  const made = JSON.parse(await send(JSON.stringify({
    query: 'mutation { createApiKey(input: {retrieverId: "product-search", name: "Old", expiresAt: "2040-01-01T00:00:00Z", rateLimitOverride: 7}) { apiKey { id } } }',
  }))).data.createApiKey.apiKey.id;
  assert.equal(client(["rename"], await send(client(["rename", made, "New"]))), "New cleared []");
  assert.equal(client(["rename"], await send(client(["rename", "key_none", "New"]))), "No such API key here.");
});
