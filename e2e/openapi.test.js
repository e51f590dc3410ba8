// Generates a Go client with oapi-codegen from the server's OpenAPI document and compiles it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { start } from "./server.js";

const oapiCodegen = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2";
const folder = mkdtempSync(join(tmpdir(), "retrieverkeys-openapi-"));
const go = (...args) => execFileSync("go", args, { cwd: folder, env: { ...process.env, GOFLAGS: "", GOWORK: "off" }, stdio: "inherit" });
let server;

before(async () => { server = await start(); });
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it("oapi-codegen generates a Go client that compiles", async () => {
  writeFileSync(join(folder, "openapi.json"), await (await fetch(`${server.url}/openapi.json`)).text());
  writeFileSync(join(folder, "use.go"), `package client

// Uses the fields that programs read: the plaintext, enum values that may be newer, and both forms of validation errors.
func read(made CreatedKey, wrong InvalidRequest) (key string, kind *string, words []string, loc []any, message string) {
	return made.Key, made.KeyType, made.Permissions, wrong.Detail[0].Loc, wrong.Error.Message
}

var _ = read
`);
  go("mod", "init", "client");
  go("run", oapiCodegen, "-generate", "types,client", "-package", "client", "-o", "client.go", "openapi.json");
  go("mod", "tidy");
  go("vet", ".");
});
