// Tests the server as a subgraph of each gateway on npm. gateways/ starts them, and the same table of checks runs on every one.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { json } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { parse } from "graphql";
import * as apollo from "./gateways/apollo.js";
import * as cosmo from "./gateways/cosmo.js";
import * as hive from "./gateways/hive.js";
import * as mercurius from "./gateways/mercurius.js";
import * as mesh from "./gateways/mesh.js";
import { catalogSDL, pages, pagesSDL, pagesSDL1, relay } from "./gateways/subgraphs.js";
import { start } from "./server.js";

// The rows. ghost is the gateway's own error for an absent entity, whose non-null name is null. wait returns the client's Retry-After. patient
// gateways retry after a 503. path is the path of errors if it differs from the client's, for a field with an alias and for an entity at an index.
const inHeader = ({ headers }) => Number(headers["retry-after"]);
const ofFirst = { field: "absent", entity: () => "pages.nodes.0.retriever.auditEvents" };
const gateways = {
  "Apollo Gateway": { gateway: apollo, ghost: [], wait: ({ errors }) => errors[0].extensions.retryAfter },
  "Hive Gateway": { gateway: hive, ghost: ["INTERNAL_SERVER_ERROR"], wait: inHeader, path: ofFirst },
  "Hive Gateway with retries": { gateway: { start: hive.startPatient }, ghost: ["INTERNAL_SERVER_ERROR"], patient: true, path: ofFirst },
  "GraphQL Mesh": { gateway: mesh, ghost: ["INTERNAL_SERVER_ERROR"], wait: inHeader, path: ofFirst },
  Mercurius: {
    gateway: mercurius, pagesSDL: pagesSDL1, ghost: [], path: { field: "retriever", entity: (i) => `_entities.${i}.auditEvents` },
  },
};
const ownPath = { field: "absent", entity: (i) => `pages.nodes.${i}.retriever.auditEvents` };
const composers = { apollo, cosmo, hive, mesh };

const bearer = (name) => `sk_e2e_${name}`;
const apiKey = (name, more) => ({
  key_id: `key_${name}`, key_hash: createHash("sha256").update(bearer(name)).digest("hex"), name, key_type: "standard",
  internal_id: "int_fjord_media", permissions: ["read"], scopes: [], ...more,
});
const thirty = Array.from({ length: 30 }, (_, i) => `ret_shop_${i}`);
const fixture = {
  namespaces: [],
  retrievers: thirty.map((id) => ({
    retriever_id: id, retriever_name: `the ${id}`, namespace_id: "ns_fjord_production", internal_id: "int_fjord_media",
  })),
  api_keys: [
    apiKey("reader"),
    ...Object.values(gateways).map((_, i) => apiKey(`spent_${i}`, { rate_limit_override: 1 })),
    apiKey("shop", { key_type: "retriever", scopes: [{ resource_type: "retriever", resource_id: "ret_shop_7", operations: [] }] }),
  ],
};
const unavailable = {
  status: 503, headers: { "content-type": "application/json", "retry-after": "1" },
  body: JSON.stringify({ errors: [{ message: "The store cannot be reached.", extensions: { code: "UNAVAILABLE" } }] }),
};

const codes = ({ errors = [] }) => errors.map((e) => e.extensions.code).sort();
const asReader = { authorization: `Bearer ${bearer("reader")}` };

// The columns. ask sends an operation through the gateway as the demo's administrator. asked contains the requests that reached our server.
const checks = {
  async "reads many entities in one request, with fields of the other subgraph"({ ask, asked }) {
    const { data, errors } = await ask(`{
      pages(retrievers: ${JSON.stringify(thirty)}) { nodes { id retriever { id name apiKeys { total } } } pageInfo { hasNextPage } }
    }`);
    assert.equal(errors, undefined);
    assert.deepEqual(data.pages, {
      nodes: thirty.map((id, i) => ({ id: `page_${id}`, retriever: { id, name: `the ${id}`, apiKeys: { total: i === 7 ? 1 : 0 } } })),
      pageInfo: { hasNextPage: false },
    });
    assert.deepEqual(asked.map(({ body }) => body.variables.representations.length), [30]);
    assert.match(asked[0].body.query, /_entities/);
  },

  async "resolves the other subgraph's fields of our entities"({ ask }) {
    const { data, errors } = await ask(`{ retriever(id: "ret_shop_7") { apiKeys { results { id note } } } viewer { id } }`);
    assert.equal(errors, undefined);
    assert.deepEqual(data, { retriever: { apiKeys: { results: [{ id: "key_shop", note: "about key_shop" }] } }, viewer: { id: "somebody" } });
  },

  async "forwards the key, the namespace and the client's address"({ ask, asked, index }) {
    const query = `{ retriever(id: "catalog-preview") { name namespace { name } } }`;
    const { data } = await ask(query, { ...asReader, "x-namespace": "staging", "x-forwarded-for": "203.0.113.9" });
    assert.deepEqual(data, { retriever: { name: "catalog-preview", namespace: { name: "staging" } } });
    assert.deepEqual(codes(await ask(query)), ["NOT_FOUND"]); // it is in another namespace
    for (const { headers } of asked) assert.equal(headers["x-forwarded-for"], "127.0.0.2");

    const renamed = await ask(`mutation { updateApiKey(input: { id: "key_shop", name: "shop ${index}" }) { apiKey { name } } }`);
    assert.deepEqual(renamed.data, { updateApiKey: { apiKey: { name: `shop ${index}` } } });
    const trail = await ask(`{ retriever(id: "ret_shop_7") { auditEvents(first: 1) { results { resourceId ipAddress } } } }`);
    assert.deepEqual(trail.data.retriever.auditEvents.results, [{ resourceId: "key_shop", ipAddress: "127.0.0.2" }]);
  },

  async "keeps error codes, together with the data"({ ask, path = ownPath }) {
    const answer = await ask(`{
      absent: retriever(id: "absent") { id }
      wrong: retrievers(first: -1) { total }
      retriever(id: "ret_shop_0") { name auditEvents { total } }
      serverInfo { version }
    }`, asReader);
    assert.deepEqual(codes(answer), ["BAD_USER_INPUT", "FORBIDDEN", "NOT_FOUND"]);
    assert.equal(answer.errors.find((e) => e.extensions.code === "BAD_USER_INPUT").extensions.field, "first");
    assert.deepEqual(answer.errors.find((e) => e.extensions.code === "NOT_FOUND").path, [path.field]);
    assert.ok(answer.data.serverInfo.version);
    assert.deepEqual({ ...answer.data, serverInfo: null },
      { absent: null, wrong: null, retriever: { name: "the ret_shop_0", auditEvents: null }, serverInfo: null });
  },

  async "keeps error codes of entities"({ ask, path = ownPath }) {
    const answer = await ask(`{ pages(retrievers: ["ret_shop_0", "ret_shop_1"]) { nodes { retriever { name auditEvents { total } } } } }`, asReader);
    assert.deepEqual(codes(answer), ["FORBIDDEN", "FORBIDDEN"]);
    assert.deepEqual(answer.errors.map((e) => e.path.join(".")), [0, 1].map(path.entity));
    assert.deepEqual(answer.data.pages.nodes, [0, 1].map((i) => ({ retriever: { name: `the ret_shop_${i}`, auditEvents: null } })));
  },

  async "reports an invalid key"({ ask }) {
    const answer = await ask(`{ retriever(id: "ret_shop_0") { name } }`, { authorization: "Bearer sk_unknown" });
    assert.deepEqual(codes(answer), ["UNAUTHENTICATED"]);
    assert.deepEqual(answer.data, { retriever: null });
  },

  async "resolves an absent entity to null, and the other fields"({ ask, ghost }) {
    const answer = await ask(`{
      pages(retrievers: ["ret_shop_0", "ghost"]) { nodes { id retriever { name } } }
      serverInfo { version }
    }`);
    assert.deepEqual(answer.data.pages.nodes, [{ id: "page_ret_shop_0", retriever: { name: "the ret_shop_0" } }, { id: "page_ghost", retriever: null }]);
    assert.ok(answer.data.serverInfo.version);
    assert.deepEqual(codes(answer), ghost);
  },

  async "passes 429 on without a retry"({ ask, asked, wait, index }) {
    const spent = { authorization: `Bearer ${bearer(`spent_${index}`)}` };
    const query = `{ retriever(id: "ret_shop_0") { name } }`;
    assert.deepEqual((await ask(query, spent)).data, { retriever: { name: "the ret_shop_0" } });
    const answer = await ask(query, spent);
    assert.equal(asked.length, 2);
    assert.deepEqual(codes(answer), ["RATE_LIMITED"]);
    assert.deepEqual(answer.data, { retriever: null });
    if (wait) assert.ok(wait(answer) >= 1 && wait(answer) <= 60, `Retry-After is ${wait(answer)}`);
  },

  async "retries after 503 only if configured, and never a mutation"({ ask, asked, refuse, wait, patient }) {
    refuse(unavailable);
    const read = await ask(`{ retriever(id: "ret_shop_0") { name } }`);
    assert.equal(asked.length, patient ? 2 : 1);
    assert.deepEqual([codes(read), read.data.retriever], patient ? [[], { name: "the ret_shop_0" }] : [["UNAVAILABLE"], null]);

    asked.length = 0;
    refuse(unavailable);
    const changed = await ask(`mutation { updateApiKey(input: { id: "key_shop", name: "shop" }) { apiKey { name } } }`);
    assert.equal(asked.length, 1);
    assert.deepEqual([codes(changed), changed.data.updateApiKey], [["UNAVAILABLE"], null]);
    if (wait) assert.equal(wait(changed), 1);
  },
};

let server;
before(async () => {
  server = await start({ TRUSTED_PROXIES: "127.0.0.1", INTROSPECTION: "authenticated" });
  server.load(fixture);
});
after(() => server?.stop());

for (const [index, [name, row]] of Object.entries(gateways).entries()) {
  describe(name, () => {
    const running = [];
    let ours, gateway;
    before(async () => {
      running.push(ours = await relay(server.graphql));
      const others = await pages(row.pagesSDL);
      running.push(others);
      gateway = await row.gateway.start([
        { name: "keys", url: ours.url, sdl: server.run("schema", "--federation"), authorization: server.headers.authorization },
        { name: "pages", url: others.url, sdl: row.pagesSDL ?? pagesSDL },
      ]);
      running.push(gateway);
    });
    after(async () => {
      for (const { stop } of running.reverse()) await stop();
    });

    const ask = (query, headers = {}) => new Promise((resolve, reject) => {
      request(gateway.url, {
        method: "POST", localAddress: "127.0.0.2", agent: false,
        headers: { "content-type": "application/json", ...server.headers, ...headers },
      }, (response) => json(response).then((answer) => resolve({ headers: response.headers, ...answer }), reject))
        .on("error", reject).end(JSON.stringify({ query }));
    });
    for (const [promise, check] of Object.entries(checks)) {
      it(promise, () => {
        ours.asked.length = 0;
        return check({ ...row, index, ask, asked: ours.asked, refuse: ours.refuse });
      });
    }
  });
}

const queryFields = (...sdls) => sdls.flatMap((sdl) =>
  parse(sdl).definitions.filter((d) => d.name?.value === "Query").flatMap((d) => d.fields.map((f) => f.name.value))).sort();

describe("composed with subgraphs that have the same root fields, and fields of the same entities", () => {
  for (const [name, { compose }] of Object.entries(composers)) {
    for (const version of ["2.9", "2.3"]) {
      it(`by ${name}, federation ${version}`, () => {
        const sdl = server.run("schema", `--federation=${version}`);
        const composed = compose([
          { name: "keys", url: "http://keys.invalid/graphql", sdl },
          { name: "pages", url: "http://pages.invalid/graphql", sdl: pagesSDL },
          { name: "catalog", url: "http://catalog.invalid/graphql", sdl: catalogSDL },
        ]);
        const supergraph = composed.engineConfig?.graphqlClientSchema ?? composed; // Cosmo composes a configuration of its router
        assert.deepEqual(queryFields(supergraph), queryFields(sdl, pagesSDL, catalogSDL));
        assert.equal(JSON.stringify(composed).includes("listSize"), version === "2.9");
      });
    }
  }
});
