// Tests the server as a subgraph: composes it with another subgraph and queries both through a gateway.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { composeServices } from "@apollo/composition";
import { ApolloGateway, LocalGraphQLDataSource, RemoteGraphQLDataSource } from "@apollo/gateway";
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
import { buildSubgraphSchema } from "@apollo/subgraph";
import { buildSchema, parse } from "graphql";
import { start } from "./server.js";

process.env.APOLLO_TELEMETRY_DISABLED = "true"; // otherwise the gateway sends usage data and queries the metadata servers of clouds

// Another team's subgraph: pages that show a retriever, and notes on keys.
const pagesSDL = parse(`
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@shareable"])
  type Query {
    pages(retrievers: [ID!]!): PageList!
    noted(keys: [ID!]!): [ApiKey!]!
    published(namespaces: [ID!]!): [Namespace!]!
    customers(ids: [String!]!): [Organization]!
  }
  type PageList { nodes: [Page!]! pageInfo: PageInfo! }
  type Page @key(fields: "id") { id: ID! retriever: Retriever }
  type PageInfo @shareable { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  type Retriever @key(fields: "id", resolvable: false) { id: ID! }
  type Namespace @key(fields: "id", resolvable: false) { id: ID! }
  type ApiKey @key(fields: "id") { id: ID! note: String! }
  type Organization @key(fields: "internalId", resolvable: false) { internalId: String! }
`);
const byID = (ids) => ids.map((id) => ({ id }));
const pagesSchema = buildSubgraphSchema({
  typeDefs: pagesSDL,
  resolvers: {
    Query: {
      pages: (_, { retrievers }) => ({
        nodes: retrievers.map((id) => ({ id: `page_${id}`, retriever: { id } })),
        pageInfo: { hasNextPage: false, hasPreviousPage: false },
      }),
      noted: (_, { keys }) => byID(keys),
      published: (_, { namespaces }) => byID(namespaces),
      customers: (_, { ids }) => ids.map((internalId) => ({ internalId })),
    },
    ApiKey: { __resolveReference: ({ id }) => ({ id }), note: ({ id }) => `about ${id}` },
  },
});

const thirty = Array.from({ length: 30 }, (_, i) => `ret_shop_${String(i).padStart(2, "0")}`);
const reader = "sk_e2e_reader";
const asReader = { authorization: `Bearer ${reader}` };
const fixture = {
  namespaces: [],
  retrievers: thirty.map((id, i) => ({
    retriever_id: id, retriever_name: `shop ${i}`, namespace_id: "ns_fjord_production", internal_id: "int_fjord_media",
  })),
  api_keys: [
    ...thirty.map((id, i) => ({
      key_id: `key_shop_${i}`, key_hash: createHash("sha256").update(id).digest("hex"), key_type: "retriever", name: `key ${i}`,
      internal_id: "int_fjord_media", permissions: ["read"],
      scopes: [{ resource_type: "retriever", resource_id: id, operations: ["execute_retriever"] }],
    })),
    {
      key_id: "key_reader", key_hash: createHash("sha256").update(reader).digest("hex"), key_type: "standard", name: "reader",
      internal_id: "int_fjord_media", permissions: ["read"], scopes: [],
    },
  ],
};

let server, gateway, client;
const sent = []; // the bodies of the gateway's requests to our server

before(async () => {
  server = await start();
  server.load(fixture);
  const { supergraphSdl, errors } = composeServices([
    { name: "keys", url: server.graphql, typeDefs: parse(server.run("schema", "--federation", "--with", "node,nodes,viewer")) },
    { name: "pages", url: "http://pages.invalid", typeDefs: pagesSDL },
  ]);
  assert.deepEqual(errors ?? [], []);
  const keys = new RemoteGraphQLDataSource({
    url: server.graphql,
    willSendRequest({ request, context }) {
      for (const [name, value] of Object.entries(context)) if (value) request.http.headers.set(name, value);
    },
    fetcher(url, init) {
      sent.push(JSON.parse(init.body));
      return fetch(url, init);
    },
  });
  gateway = new ApolloServer({
    gateway: new ApolloGateway({
      supergraphSdl,
      buildService: ({ name }) => (name === "keys" ? keys : new LocalGraphQLDataSource(pagesSchema)),
    }),
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
  });
  const { url } = await startStandaloneServer(gateway, {
    listen: { host: "127.0.0.1", port: 0 },
    context: async ({ req: { headers } }) => ({ authorization: headers.authorization, "x-namespace": headers["x-namespace"] }),
  });
  client = async (query, variables = {}, headers = {}) => {
    sent.length = 0;
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...server.headers, ...headers },
      body: JSON.stringify({ query, variables }),
    });
    return response.json();
  };
});
after(async () => {
  await gateway?.stop();
  await server?.stop();
});

const codes = ({ errors = [] }) => errors.map((e) => `${e.path?.join(".")} ${e.extensions.code}`).sort();

describe("the subgraph's schema", () => {
  it("serves the SDL that the command prints", async () => {
    const response = await fetch(server.graphql, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ query: "{ _service { sdl } }" }),
    });
    assert.ok((await response.json()).data._service.sdl === server.run("schema", "--federation"));
  });

  it("has no federation types in the plain schema", () => {
    const schema = buildSchema(server.run("schema")); // fails if a directive is not defined
    const names = [...Object.keys(schema.getTypeMap()), ...Object.keys(schema.getQueryType().getFields()), ...schema.getDirectives().map((d) => d.name)];
    assert.deepEqual(names.filter((name) => /^_(?!_)|^(key|link|shareable)$/.test(name)), []);
  });
});

describe("through a gateway", () => {
  it("batches thirty retrievers with their keys and the other subgraph's fields", async () => {
    const { data, errors } = await client(`
      query ($retrievers: [ID!]!) {
        pages(retrievers: $retrievers) {
          nodes { id retriever { id name namespace { name } apiKeys { total results { id name note } pageInfo { hasNextPage } } } }
          pageInfo { hasNextPage endCursor }
        }
      }`, { retrievers: thirty });
    assert.equal(errors, undefined);
    assert.equal(sent.length, 1);
    assert.match(sent[0].query, /_entities/);
    assert.equal(sent[0].variables.representations.length, 30);
    assert.deepEqual(data.pages, {
      nodes: thirty.map((id, i) => ({
        id: `page_${id}`,
        retriever: {
          id, name: `shop ${i}`, namespace: { name: "production" },
          apiKeys: { total: 1, results: [{ id: `key_shop_${i}`, name: `key ${i}`, note: `about key_shop_${i}` }], pageInfo: { hasNextPage: false } },
        },
      })),
      pageInfo: { hasNextPage: false, endCursor: null },
    });
  });

  it("finds keys and namespaces by id", async () => {
    const { data, errors } = await client(`{
      noted(keys: ["key_shop_1", "key_shop_0"]) { note name status }
      published(namespaces: ["ns_fjord_staging"]) { id name retriever(id: "catalog-preview") { name } }
    }`);
    assert.equal(errors, undefined);
    assert.deepEqual(data, {
      noted: [{ note: "about key_shop_1", name: "key 1", status: "ACTIVE" }, { note: "about key_shop_0", name: "key 0", status: "ACTIVE" }],
      published: [{ id: "ns_fjord_staging", name: "staging", retriever: { name: "catalog-preview" } }],
    });
  });

  it("resolves absent objects to null without an error, and objects of any namespace", async () => {
    const { data, errors } = await client(`{
      pages(retrievers: ["ret_shop_00", "ret_absent", "ret_catalog_preview"]) { nodes { retriever { name } } }
    }`);
    assert.equal(errors, undefined);
    assert.deepEqual(data.pages.nodes, [{ retriever: { name: "shop 0" } }, { retriever: null }, { retriever: { name: "catalog-preview" } }]);
  });

  it("keeps aliases apart", async () => {
    const { data, errors } = await client(`{
      first: pages(retrievers: ["ret_shop_00"]) { nodes { retriever { a: name all: apiKeys(includeRevoked: true) { n: total } } } }
      second: pages(retrievers: ["ret_shop_01"]) { nodes { retriever { a: name newest: apiKeys(first: 0) { n: total } } } }
      product: retriever(id: "product-search") { id none: apiKeys(first: 0) { results { id } } two: apiKeys(first: 2) { results { id note } } }
    }`);
    assert.equal(errors, undefined);
    assert.deepEqual(data.first.nodes, [{ retriever: { a: "shop 0", all: { n: 1 } } }]);
    assert.deepEqual(data.second.nodes, [{ retriever: { a: "shop 1", newest: { n: 1 } } }]);
    assert.deepEqual(data.product.none.results, []);
    assert.deepEqual(data.product.two.results.map((k) => k.note), data.product.two.results.map((k) => `about ${k.id}`));
  });

  it("forwards the caller's key and namespace", async () => {
    const query = "{ viewer { keyId namespace { name } } }";
    assert.deepEqual((await client(query, {}, { "x-namespace": "staging", ...asReader })).data,
      { viewer: { keyId: "key_reader", namespace: { name: "staging" } } });
    assert.deepEqual((await client(query)).data.viewer.namespace, { name: "production" });
  });

  it("forwards error codes together with data", async () => {
    const query = `{
      absent: retriever(id: "absent") { id }
      wrong: retrievers(first: -1) { total }
      product: retriever(id: "product-search") { name auditEvents { total } }
      serverInfo { version }
    }`;
    const read = await client(query, {}, asReader);
    assert.deepEqual(codes(read), ["absent NOT_FOUND", "product.auditEvents FORBIDDEN", "wrong BAD_USER_INPUT"]);
    assert.equal(read.errors.find((e) => e.path[0] === "wrong").extensions.field, "first");
    const { version } = read.data.serverInfo;
    assert.ok(version);
    assert.deepEqual(read.data, { absent: null, wrong: null, product: { name: "product-search", auditEvents: null }, serverInfo: { version } });

    const anonymous = await client(query, {}, { authorization: "" });
    assert.deepEqual(codes(anonymous), ["absent UNAUTHENTICATED", "product UNAUTHENTICATED", "wrong UNAUTHENTICATED"]);
    assert.deepEqual(anonymous.data, { absent: null, wrong: null, product: null, serverInfo: { version } });
  });

  it("forwards the error codes of entities", async () => {
    const answer = await client(`{
      pages(retrievers: ["ret_shop_00", "ret_shop_01"]) { nodes { retriever { name auditEvents { total } } } }
    }`, {}, asReader);
    assert.deepEqual(codes(answer), [0, 1].map((i) => `pages.nodes.${i}.retriever.auditEvents FORBIDDEN`));
    assert.deepEqual(answer.data.pages.nodes, [0, 1].map((i) => ({ retriever: { name: `shop ${i}`, auditEvents: null } })));
  });

  it("forwards mutations", async () => {
    const rotate = `mutation {
      rotated: rotateApiKey(input: { id: "key_shop_2" }) { previous { id status note } }
      again: rotateApiKey(input: { id: "key_shop_2" }) { key }
    }`;
    assert.deepEqual(codes(await client(rotate, {}, asReader)), ["again FORBIDDEN", "rotated FORBIDDEN"]);
    const answer = await client(rotate);
    assert.deepEqual(codes(answer), ["again CONFLICT"]);
    assert.deepEqual(answer.data, { rotated: { previous: { id: "key_shop_2", status: "REVOKED", note: "about key_shop_2" } }, again: null });
  });

  it("reads the caller's organization by its internal id, and no other", async () => {
    const { data, errors } = await client(`{
      customers(ids: ["int_fjord_media", "int_other"]) { internalId id name namespaces { results { id apiKeys(first: 1) { results { note } } } } }
      nodes(ids: ["ret_shop_00", "absent", "key_shop_1"]) { __typename id ... on ApiKey { note } }
    }`, {}, { "x-namespace": "" });
    assert.equal(errors, undefined);
    assert.deepEqual(data.customers.map((c) => c && [c.internalId, c.id, c.name]), [["int_fjord_media", "org_fjord_media", "Fjord Media"], null]);
    assert.match(data.customers[0].namespaces.results[0].apiKeys.results[0].note, /^about key_/);
    assert.deepEqual(data.nodes, [{ __typename: "Retriever", id: "ret_shop_00" }, null, { __typename: "ApiKey", id: "key_shop_1", note: "about key_shop_1" }]);
  });

  it("rejects an invalid key", async () => {
    const answer = await client(`{
      viewer { keyId }
      pages(retrievers: ["ret_shop_00"]) { nodes { id retriever { name } } }
    }`, {}, { authorization: "Bearer sk_unknown" });
    assert.deepEqual(answer.errors.map((e) => [e.extensions.code, e.extensions.response.status]), Array(2).fill(["UNAUTHENTICATED", 401]));
    assert.deepEqual(answer.data, { viewer: null, pages: { nodes: [{ id: "page_ret_shop_00", retriever: null }] } });
  });
});
