// Tests the API as apps use it: with types generated from the server's schema, and with Apollo Client, its cache, pagination and persisted
// operations.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { CombinedGraphQLErrors, HttpLink, gql } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { generatePersistedQueryIdsFromManifest } from "@apollo/persisted-query-lists";
import { generate } from "@graphql-codegen/cli";
import { addTypenameSelectionDocumentTransform } from "@graphql-codegen/client-preset";
import { start } from "./server.js";

const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const here = import.meta.dirname;
const generated = join(here, "app/gql");
const tool = (script, ...args) => execFileSync(process.execPath, [join(here, "node_modules", script), ...args], { cwd: here, encoding: "utf8" });

const retriever = "product-search";
const reader = "sk_e2e_reader";
let server, app;

before(async () => {
  server = await start();
  server.load({
    namespaces: [], retrievers: [],
    api_keys: [{
      key_id: "key_reader", key_hash: sha256(reader), key_type: "standard", name: "reader",
      internal_id: "int_fjord_media", permissions: ["read"], scopes: [],
    }],
  });
  for (const folder of ["gql", "build"]) rmSync(join(here, "app", folder), { recursive: true, force: true });
  await generate({
    cwd: here,
    silent: true,
    schema: server.graphql,
    documents: "operations/*.graphql",
    generates: {
      "app/gql/": {
        preset: "client",
        presetConfig: { fragmentMasking: false, persistedDocuments: { hashAlgorithm: "sha256" } },
        config: { strictScalars: true, scalars: { Date: "string", DateTime: "string", Long: "number", _Any: "unknown" }, nonOptionalTypename: true, importExtension: ".js" },
        documentTransforms: [addTypenameSelectionDocumentTransform],
      },
      "app/gql/possible-types.ts": { plugins: ["fragment-matcher"] },
    },
  }, true);
  tool("typescript/bin/tsc", "-p", "app");
  app = await import("./app/build/app.js");
});
after(() => server?.stop());

// link returns a link to the server that records requests and responses in seen.
function link(seen = [], { to = server, headers = {} } = {}) {
  return new HttpLink({
    uri: to.graphql,
    headers: { ...to.headers, ...headers },
    async fetch(url, init) {
      const response = await fetch(url, init);
      const asked = init.method === "GET" ? Object.fromEntries(new URL(url).searchParams) : JSON.parse(init.body);
      seen.push({ method: init.method, asked, status: response.status, type: response.headers.get("content-type").split(";")[0] });
      return response;
    },
  });
}
const codes = (error) => {
  assert.ok(CombinedGraphQLErrors.is(error), `want GraphQL errors, got ${error}`);
  return error.errors.map((e) => e.extensions.code);
};

describe("generated types", () => {
  it("compile in strict mode and match the server's responses", async () => {
    const { data } = await app.connect(link()).query({ query: app.KeysDocument, variables: { retriever, first: 1 } });
    assert.match(app.line(data.retriever.apiKeys.edges[0].node), / works, (never used|used \d{4}-\d\d-\d\d)$/);
  });
});

describe("Apollo Client", () => {
  it("shows data and errors together", async () => {
    const client = app.connect(link([], { headers: { authorization: `Bearer ${reader}` } }));
    const { data, error } = await client.query({ query: app.TrailDocument, variables: { retriever }, errorPolicy: "all" });
    assert.deepEqual(data.retriever, { __typename: "Retriever", id: "ret_product_search", name: retriever, auditEvents: null });
    assert.deepEqual(codes(error), ["FORBIDDEN"]);
    assert.deepEqual(error.errors[0].path, ["retriever", "auditEvents"]);
  });

  for (const [what, query, variables, headers, want] of [
    ["an absent retriever", "FindDocument", { id: "absent" }, {}, "NOT_FOUND"],
    ["a wrong argument", "KeysDocument", { retriever, first: -1 }, {}, "BAD_USER_INPUT"],
    ["a bad bearer", "CallerDocument", {}, { authorization: "Bearer sk_unknown" }, "UNAUTHENTICATED"],
  ]) {
    it(`reports ${what} by its code`, async () => {
      const { error } = await app.connect(link([], { headers })).query({ query: app[query], variables, errorPolicy: "all" });
      assert.deepEqual(codes(error), [want]);
    });
  }

  it("pages through all keys without gaps or duplicates", async () => {
    const seen = [];
    const variables = { retriever, includeRevoked: true, first: 7 };
    const paged = await app.everyKey(app.connect(link(seen)), variables);
    const { data } = await app.connect(link()).query({ query: app.KeysDocument, variables: { ...variables, first: 1000 } });
    const all = data.retriever.apiKeys;
    assert.equal(seen.length, Math.ceil(all.total / 7));
    assert.ok(seen.length > 1);
    assert.equal(new Set(paged.map((k) => k.id)).size, all.total);
    assert.deepEqual(paged, all.edges.map((e) => e.node));
  });

  it("keeps pages of other filters and orders apart", async () => {
    const client = app.connect(link());
    const orderBy = { field: "NAME", direction: "ASC" };
    const active = await app.everyKey(client, { retriever, first: 7, orderBy });
    const all = await app.everyKey(client, { retriever, first: 7, includeRevoked: true, orderBy });
    assert.ok(active.length < all.length);
    assert.deepEqual(active, all.filter((k) => k.status === "ACTIVE"));
    const names = all.map((k) => k.name);
    assert.deepEqual(names, [...names].sort());
    assert.deepEqual(await app.everyKey(client, { retriever, first: 7, filter: { search: active[0].name } }), active.filter((k) => k.name.includes(active[0].name)));
  });

  it("sees in its cache what a mutation changed", async () => {
    const client = app.connect(link());
    const cached = (id) => client.cache.extract()[`ApiKey:${id}`];
    const mutate = async (mutation, input) => {
      const { __typename, ...payload } = (await client.mutate({ mutation, variables: { input } })).data;
      return Object.values(payload)[0];
    };

    const { apiKey, key } = await mutate(app.CreateDocument, { retrieverId: retriever, name: "cached", expiresAt: "2999-01-01T00:00:00Z" });
    assert.match(key, /^ret_sk_/);
    assert.equal(cached(apiKey.id).expiresAt, "2999-01-01T00:00:00.000Z");
    const shown = () => client.readQuery({ query: app.KeysDocument, variables: { retriever, first: 7 } })
      .retriever.apiKeys.edges.find((e) => e.node.id === apiKey.id).node;
    await client.query({ query: app.KeysDocument, variables: { retriever, first: 7 } });
    assert.equal(shown().name, "cached");

    await mutate(app.UpdateDocument, { id: apiKey.id, name: "changed", expiresAt: null });
    assert.deepEqual([shown().name, shown().expiresAt, shown().status], ["changed", null, "ACTIVE"]);

    const rotated = await mutate(app.RotateDocument, { id: apiKey.id, overlapSeconds: 3600 });
    assert.notEqual(rotated.apiKey.id, apiKey.id);
    assert.deepEqual([cached(rotated.apiKey.id).name, cached(rotated.apiKey.id).rotatedFrom, cached(apiKey.id).rotatedTo],
      ["changed", apiKey.id, rotated.apiKey.id]);
    assert.ok(Date.parse(shown().expiresAt) > Date.parse(rotated.apiKey.createdAt));

    await mutate(app.RevokeDocument, { id: apiKey.id });
    assert.equal(shown().status, "REVOKED");
    assert.equal(cached(rotated.apiKey.id).status, "ACTIVE");
    const again = await client.mutate({ mutation: app.RotateDocument, variables: { input: { id: apiKey.id } }, errorPolicy: "all" });
    assert.deepEqual(codes(again.error), ["CONFLICT"]);
  });

  it("knows what a node can be", async () => {
    const client = app.connect(link());
    const { data } = await client.query({ query: app.KeysDocument, variables: { retriever, first: 1 } });
    const key = data.retriever.apiKeys.edges[0].node;
    for (const [id, typename, name] of [
      [key.id, "ApiKey", key.name], ["ret_product_search", "Retriever", retriever], ["ns_fjord_production", "Namespace", "production"],
    ]) {
      const { data: { node } } = await client.query({ query: app.FindDocument, variables: { id } });
      assert.deepEqual([node.__typename, node.id, node.name], [typename, id, name]);
      const fragment = gql`fragment Anything on Node { id }`; // matches cached objects only if possibleTypes is set
      assert.equal(client.readFragment({ id: `${typename}:${id}`, fragment }).id, id);
    }
  });
});

describe("media types", () => {
  const broken = gql`query Broken { nothing }`;
  for (const [accept, status] of [["application/json", 200], ["application/graphql-response+json", 400]]) {
    it(`get the requested media type: ${accept}`, async () => {
      const seen = [];
      const client = app.connect(link(seen, { headers: { accept } }));
      const { data } = await client.query({ query: app.CallerDocument });
      assert.equal(data.viewer.namespace.name, server.namespace);
      const { error } = await client.query({ query: broken, errorPolicy: "all" });
      assert.deepEqual(codes(error), ["GRAPHQL_VALIDATION_FAILED"]);
      assert.deepEqual(seen.map((s) => [s.status, s.type]), [[200, accept], [status, accept]]);
    });
  }
});

describe("automatic persisted queries", () => {
  const hashed = (seen, options) => app.connect(new PersistedQueryLink({ sha256, useGETForHashedQueries: true, ...options }).concat(link(seen)));
  const variables = { retriever, first: 2 };

  it("are registered once and then sent by hash, by GET", async () => {
    const first = [];
    const { data } = await hashed(first).query({ query: app.KeysDocument, variables });
    assert.deepEqual(first.map((s) => [s.method, "query" in s.asked]), [["GET", false], ["POST", true]]);

    const second = [];
    assert.deepEqual((await hashed(second).query({ query: app.KeysDocument, variables })).data, data);
    assert.deepEqual(second.map((s) => [s.method, "query" in s.asked, s.status]), [["GET", false, 200]]);
  });

  it("send mutations by POST", async () => {
    const seen = [];
    const { data } = await hashed(seen).mutate({ mutation: app.CreateDocument, variables: { input: { retrieverId: retriever, name: "hashed" } } });
    assert.equal(data.createApiKey.apiKey.name, "hashed");
    assert.deepEqual([...new Set(seen.map((s) => s.method))], ["POST"]);
  });

  it("reject a hash of another text", async () => {
    const seen = [];
    const client = hashed(seen, { generateHash: () => sha256("something else") });
    const { data, error } = await client.query({ query: app.CallerDocument, errorPolicy: "all" });
    assert.equal(data, undefined);
    assert.deepEqual(codes(error), ["BAD_USER_INPUT"]);
    assert.equal(seen.length, 2);
  });
});

// Each build tool writes a manifest in its own format and sends operations by id in its own way.
describe("persisted operations", () => {
  const manifests = {
    "graphql-codegen": () => {
      const file = join(generated, "persisted-documents.json");
      return { file, ids: Object.keys(JSON.parse(readFileSync(file))), link: { generateHash: (document) => document.__meta__.hash } };
    },
    Apollo: () => {
      const file = join(generated, "persisted-query-manifest.json");
      const config = join(generated, "persisted-query-manifest.config.json");
      writeFileSync(config, JSON.stringify({ documents: ["operations/*.graphql"], output: file }));
      tool("@apollo/generate-persisted-query-manifest/cli.js", "--config", config);
      const manifest = JSON.parse(readFileSync(file));
      return { file, ids: manifest.operations.map((o) => o.id), link: generatePersistedQueryIdsFromManifest({ loadManifest: () => manifest }) };
    },
  };
  for (const [name, make] of Object.entries(manifests)) {
    describe(`of ${name}`, () => {
      let manifest, strict;
      before(async () => {
        manifest = make();
        strict = await start({ PERSISTED_OPERATIONS: manifest.file, PERSISTED_ONLY: "true" });
      });
      after(() => strict?.stop());
      const post = async (body) => (await fetch(strict.graphql, {
        method: "POST", headers: { "content-type": "application/json", ...strict.headers }, body: JSON.stringify(body),
      })).json();

      it("run by Apollo Client's hash, without their text", async () => {
        const seen = [];
        const client = app.connect(new PersistedQueryLink(manifest.link).concat(link(seen, { to: strict })));
        const { data } = await client.query({ query: app.KeysDocument, variables: { retriever, first: 1 } });
        assert.equal(data.retriever.apiKeys.edges.length, 1);
        const made = await client.mutate({ mutation: app.CreateDocument, variables: { input: { retrieverId: retriever, name: "trusted" } } });
        assert.equal(made.data.createApiKey.apiKey.name, "trusted");
        assert.deepEqual(seen.map((s) => "query" in s.asked), [false, false]);
      });

      it("run by documentId", async () => {
        const answers = await Promise.all(manifest.ids.map((documentId) => post({ documentId, variables: {} })));
        // Only the caller's own operation has no required variables.
        assert.equal(answers.filter((a) => a.data?.viewer.namespace.name === strict.namespace).length, 1);
        assert.deepEqual(answers.filter((a) => a.errors?.[0].extensions.code === "PERSISTED_QUERY_NOT_FOUND"), []);
        assert.equal(answers.length, 8);
      });

      it("are the only operations that run", async () => {
        const { data, error } = await app.connect(link([], { to: strict })).query({ query: gql`query Other { viewer { userId } }`, errorPolicy: "all" });
        assert.equal(data, undefined);
        assert.deepEqual(codes(error), ["FORBIDDEN"]);
        const text = "{ viewer { keyId } }";
        for (const [body, code] of [
          [{ query: "{ __schema { queryType { name } } }" }, "FORBIDDEN"],
          [{ query: text, extensions: { persistedQuery: { version: 1, sha256Hash: sha256(text) } } }, "FORBIDDEN"],
          [{ query: text, documentId: manifest.ids[0] }, "BAD_USER_INPUT"],
        ]) {
          const { data, errors } = await post(body);
          assert.equal(data, undefined);
          assert.equal(errors[0].extensions.code, code);
        }
        assert.equal((await post({ documentId: sha256(text) })).errors[0].extensions.code, "PERSISTED_QUERY_NOT_FOUND");
      });
    });
  }
});
