// schemathesis sends many requests, valid and not, to the REST endpoints. No response contradicts the OpenAPI document.
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { environment } from "./python.js";
import { start } from "./server.js";

let folder;
let run;
let server;

// Without public keys, the address for GitHub's reports does not exist.
function publicKeys() {
  folder = mkdtempSync(join(tmpdir(), "retrieverkeys-leaks-"));
  const file = join(folder, "keys.json");
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = publicKey.export({ type: "spki", format: "pem" });
  writeFileSync(file, JSON.stringify({ public_keys: [{ key_identifier: "test", key, is_current: true }] }));
  return file;
}

// Running Python blocks this process, which then cannot read the log of the server.
before(async () => {
  server = await start({ LOG_LEVEL: "error", GITHUB_LEAK_KEYS: publicKeys() });
  run = environment("requirements-schemathesis.txt");
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it("with a key", () => run("schemathesis.py", "", { URL: server.url, KEY: server.key, NAMESPACE: server.namespace }));
it("without a key", () => run("schemathesis.py", "", { URL: server.url, KEY: "", NAMESPACE: server.namespace }));
