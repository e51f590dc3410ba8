// Tests the schema: its conventions, its descriptions, and that no change breaks a client.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { CriticalityLevel, DiffRule, diff } from "@graphql-inspector/core";
import { ESLint } from "eslint";
import { buildASTSchema, buildClientSchema, buildSchema, getIntrospectionQuery, parse, printSchema, validate, visit } from "graphql";
import { start } from "./server.js";

const checkout = join(import.meta.dirname, "..");
const sdl = readFileSync(join(checkout, "schema.graphqls"), "utf8");
const schema = buildSchema(sdl);
const deprecation = (node) => node.directives?.find((d) => d.name.value === "deprecated");

describe("conventions", () => {
  const eslint = new ESLint({ cwd: checkout, overrideConfigFile: join(import.meta.dirname, "eslint.config.js") });
  const complaints = ([{ messages }]) => messages.map((m) => `line ${m.line}: ${m.message} (${m.ruleId})`);

  it("are GraphQL's and Relay's", async () => {
    assert.deepEqual(complaints(await eslint.lintFiles("schema.graphqls")), []);
  });

  for (const [name, bad] of Object.entries({
    "require-description": `type Query { "A." a("B." b: Int, c: Int): Int }`,
    "naming-convention": `"Q." type Query { "A." Get_it: Int }`,
    "relay-page-info": `"Q." type Query { "P." p: PageInfo } "P." type PageInfo { "H." hasNextPage: Int }`,
  })) {
    it(`are checked: ${name}`, async () => {
      const found = complaints(await eslint.lintText(bad, { filePath: "schema.graphqls" }));
      assert.ok(found.some((c) => c.includes(`/${name}`)), found.join("\n"));
    });
  }
});

describe("a deprecated element", () => {
  // undirected returns the deprecated elements whose reason does not name a replacement in the schema, in backticks or as an argument.
  function undirected(text) {
    const reasons = new Map();
    const lasting = new Set();
    visit(parse(text), {
      enter(node) {
        if (!/Definition$/.test(node.kind) || !node.name) return;
        const mark = deprecation(node);
        if (mark) reasons.set(node.name.value, mark.arguments[0]?.value.value ?? "");
        else lasting.add(node.name.value);
      },
    });
    const directs = (reason) => [...reason.matchAll(/`(?:\w+\.)*(\w+)`|(\w+): \{/g)].some(([, element, argument]) => lasting.has(element ?? argument));
    return [...reasons].filter(([, reason]) => !directs(reason)).map(([name]) => name);
  }

  it("names a replacement", () => assert.deepEqual(undirected(sdl), []));

  for (const [reason, lost] of [['(reason: "Use `Query.viewer`.")', []], ['(reason: "Use `gone`.")', ["old"]], ['(reason: "Old.")', ["old"]], ["", ["old"]]]) {
    it(`is checked: @deprecated${reason}`, () => {
      assert.deepEqual(undirected(`${sdl} extend type Query { old: Int @deprecated${reason} }`), lost);
    });
  }
});

describe("changes", () => {
  // breaking returns the changes that break clients of an earlier schema. Elements that were deprecated in it can be removed.
  async function breaking(before, after) {
    const promised = visit(parse(before), { enter: (node) => (deprecation(node) ? null : undefined) });
    const changes = await diff(buildASTSchema(promised, { assumeValid: true }), buildSchema(after), [DiffRule.safeUnreachable]);
    return changes.filter((c) => c.criticality.level === CriticalityLevel.Breaking).map((c) => c.message);
  }

  // published returns the schema that clients use: that of the newest release before the last commit, else of the commit before the last. In a
  // clone without history, it is that of the last commit, so that only uncommitted changes count.
  function published() {
    const git = (...args) => execFileSync("git", args, { cwd: checkout, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const newestTag = () => git("describe", "--tags", "--abbrev=0", "HEAD~1").trim();
    for (const revision of [newestTag, () => "HEAD~1", () => "HEAD"]) {
      try {
        const name = revision();
        return [name, git("show", `${name}:schema.graphqls`)];
      } catch {
        // The clone does not have this revision.
      }
    }
    throw new Error("There is no earlier schema to compare with: this needs a git checkout.");
  }

  it("break no client", async (t) => {
    const [revision, before] = published();
    t.diagnostic(`compared with ${revision}`);
    assert.deepEqual(await breaking(before, sdl), []);
  });

  const change = (text, pattern, replacement) => {
    assert.match(text, pattern);
    return text.replace(pattern, replacement);
  };
  const old = change(sdl, /(?<=serverInfo: ServerInfo!)/, '@deprecated(reason: "Use `viewer`.")');
  const withoutServerInfo = change(change(sdl, /"[^"]*"\s*serverInfo: ServerInfo!/, ""), /"[^"]*"\s*type ServerInfo {[^}]*}/, "");
  for (const [what, before, after, flagged] of [
    ["a removed field", sdl, change(sdl, /"[^"]*"\s*keyHash: String!/, ""), true],
    ["a field that may now be null", sdl, change(sdl, /keyHash: String!/, "keyHash: String"), true],
    ["an argument that is now required", sdl, change(sdl, /id: ID(?=\s*\): Namespace)/, "id: ID!"), true],
    ["a removed enum value", sdl, change(sdl, /"[^"]*"\s*CANCEL_JOB/, ""), true],
    ["a removed field and its type", sdl, withoutServerInfo, true],
    ["a removed field and its type, deprecated before", old, withoutServerInfo, false],
    ["a new field", sdl, `${sdl} extend type Query { more: Int }`, false],
  ]) {
    it(`are classified: ${what}`, async () => {
      assert.equal((await breaking(before, after)).length > 0, flagged);
    });
  }
});

describe("the server", () => {
  let server;
  before(async () => { server = await start(); });
  after(() => server?.stop());
  const ask = async (query) => (await fetch(server.graphql, {
    method: "POST", headers: { "content-type": "application/json", ...server.headers }, body: JSON.stringify({ query }),
  })).json();

  it("returns this schema to introspection, plus only the fields for gateways", async () => {
    const { data, errors } = await ask(getIntrospectionQuery({
      specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true, oneOf: true,
    }));
    assert.equal(errors, undefined);
    const changes = await diff(schema, buildSchema(printSchema(buildClientSchema(data))));
    const federation = /^(Query\.)?_|^@(key|link|shareable)$/;
    assert.deepEqual(changes.filter((c) => !federation.test(c.path)).map((c) => c.message), []);
  });

  // Every response is complete. A deferred field would be null, even if the schema says that it cannot be.
  it("does not defer", async () => {
    const { data, errors } = await ask('{ retriever(id: "product-search") { id ... @defer { apiKeys(first: 1) { total } } } }');
    assert.ok(errors || data.retriever.apiKeys, JSON.stringify(data));
  });
});

describe("operations", () => {
  const errors = (text) => validate(schema, parse(text)).map((e) => e.message);
  const folder = join(import.meta.dirname, "operations");

  it("of the sample app are valid", () => {
    const text = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8")).join("\n");
    assert.deepEqual(errors(text), []);
  });

  const docs = join(checkout, "docs");
  for (const page of [join(checkout, "README.md"), ...readdirSync(docs).filter((name) => name.endsWith(".md")).map((name) => join(docs, name))]) {
    for (const [, plain, tagged] of readFileSync(page, "utf8").matchAll(/^```graphql\n(.*?)^```|gql`\n(.*?)`/gms)) {
      const text = (plain ?? tagged).trim();
      it(`of ${basename(page)} are valid: ${text.split("\n")[0]}`, () => assert.deepEqual(errors(text), []));
    }
  }
});
