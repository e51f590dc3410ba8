// Runs gitleaks and detect-secrets with the rules that the binary prints.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { environment } from "./python.js";
import { binary, start } from "./server.js";

const gitleaks = "github.com/zricethezav/gitleaks/v8@v8.30.1";
const folder = mkdtempSync(join(tmpdir(), "retrieverkeys-scanners-"));
const files = join(folder, "files");
let key;

// rules writes the rules for a scanner to a file and returns its path.
function rules(scanner, name) {
  const file = join(folder, name);
  writeFileSync(file, execFileSync(binary(), ["keys", "scan", "--rules", scanner], { encoding: "utf8" }));
  return file;
}

before(async () => {
  const server = await start();
  key = server.key;
  await server.stop();
  const lookAlike = key.slice(0, -1) + (key.endsWith("0") ? "1" : "0"); // its checksum is wrong
  mkdirSync(files);
  writeFileSync(join(files, "config.yml"), `name: shop\ntoken: ${key}\n`);
  writeFileSync(join(files, "log.json"), `{"line":"\\n${key}\\u0026"}\n`);
  writeFileSync(join(files, "alike.py"), `token = "${lookAlike}"\n`);
  writeFileSync(join(files, "clean.txt"), "sk_customers and ret_sk_short\n");
});
after(() => rmSync(folder, { recursive: true, force: true }));

describe("rules for gitleaks", () => {
  // found runs gitleaks with a configuration and returns where it found keys, as file:line.
  function found(config) {
    const report = join(folder, "report.json");
    const args = ["run", gitleaks, "dir", "--no-banner", "--log-level", "error", "--exit-code", "0", "--config", config, "--report-format", "json", "--report-path", report, files];
    execFileSync("go", args, { cwd: folder, stdio: "inherit" });
    const leaks = JSON.parse(readFileSync(report, "utf8")).filter((leak) => leak.RuleID === "retrieverkeys-api-key");
    return [...new Set(leaks.map((leak) => `${leak.File.slice(files.length + 1)}:${leak.StartLine}`))].sort();
  }
  const everything = ["alike.py:1", "config.yml:2", "log.json:1"]; // gitleaks cannot check a checksum

  it("find keys and similar texts", () => assert.deepEqual(found(rules("gitleaks", "retrieverkeys.toml")), everything));
  it("work without the rules of gitleaks", () => {
    const alone = join(folder, "alone.toml");
    writeFileSync(alone, readFileSync(rules("gitleaks", "retrieverkeys.toml"), "utf8").replace(/^\[extend\]\nuseDefault = true$/m, ""));
    assert.deepEqual(found(alone), everything);
  });
  it("can be extended", () => {
    const own = join(folder, "own.toml");
    writeFileSync(own, `[extend]\npath = ${JSON.stringify(rules("gitleaks", "retrieverkeys.toml"))}\n`);
    assert.deepEqual(found(own), everything);
  });
});

describe("rules for detect-secrets", () => {
  it("find keys but not similar texts", () => {
    const output = environment("requirements-detect-secrets.txt")("scanners.py", "", { RULES: rules("detect-secrets", "retrieverkeys.py"), FOLDER: files }, "pipe");
    const found = Object.entries(JSON.parse(output).results).flatMap(([file, secrets]) =>
      secrets.filter((secret) => secret.type === "retrieverkeys API key").map((secret) => `${file}:${secret.line_number}`));
    assert.deepEqual(found.sort(), ["config.yml:2", "log.json:1"]);
  });
});
