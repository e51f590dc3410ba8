// Copies the files that ../playground.html refers to from node_modules into assets/, if they have the hashes in the page.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const at = (...names) => join(import.meta.dirname, ...names);
const page = readFileSync(at("../playground.html"), "utf8");
const pinned = [...page.matchAll(/"https:\/\/[^/]+\/npm\/(([^@"]+)@[^/"]+\/([^"]+))"\s+integrity="sha256-([^"]+)"/g)];
if (pinned.length !== 4) throw new Error(`the page pins ${pinned.length} assets instead of 4`);

for (const name of readdirSync(at("assets"))) {
  if (name !== "README.md") rmSync(at("assets", name), { recursive: true });
}
for (const [, path, pack, file, hash] of pinned) {
  const content = readFileSync(at("node_modules", pack, file));
  const found = createHash("sha256").update(content).digest("base64");
  if (found !== hash) throw new Error(`${path} has the hash ${found}, but the page has ${hash}`);
  mkdirSync(dirname(at("assets", path)), { recursive: true });
  writeFileSync(at("assets", path), content);
}
console.log(`${pinned.length} assets match the hashes in the page`);
