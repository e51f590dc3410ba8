// Tests subscriptions over Server-Sent Events with clients that others wrote: graphql-sse itself, urql, and Apollo Client with the link of
// graphql-sse's documentation.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { Client, fetchExchange } from "@urql/core";
import { print } from "graphql";
import { createClient } from "graphql-sse";
import { Observable } from "rxjs";
import { start } from "./server.js";

const follow = "subscription Follow($filter: AuditEventFilter) { auditEventAdded(filter: $filter) { id action resourceId timestamp } }";
const variables = { filter: { action: ["api_key_created"] } };
const reader = "sk_e2e_reader";
let server;

before(async () => {
  server = await start();
  server.load({
    namespaces: [], retrievers: [],
    api_keys: [{
      key_id: "key_reader", key_hash: createHash("sha256").update(reader).digest("hex"), key_type: "standard", name: "reader",
      internal_id: "int_fjord_media", permissions: ["read"], scopes: [],
    }],
  });
});
after(() => server?.stop());

async function create(to = server) {
  const query = `mutation { createApiKey(input: { retrieverId: "product-search", name: "new" }) { apiKey { id } } }`;
  await fetch(to.graphql, {
    method: "POST", headers: { ...to.headers, "content-type": "application/json" }, body: JSON.stringify({ query }),
  });
}

// Each client resolves to an object with next(), which resolves to the next result or rejects with the error, and with stop().
const clients = {
  "graphql-sse": async (to, headers, query = follow) => {
    const client = createClient({ url: to.graphql, headers, retryAttempts: 0 });
    const results = client.iterate({ query, variables });
    return { next: async () => (await results.next()).value, stop: () => results.return() };
  },
  urql: async (to, headers, query = follow) => {
    const client = new Client({
      url: to.graphql, exchanges: [fetchExchange], preferGetMethod: false, fetchSubscriptions: true, fetchOptions: { headers },
      // In Node.js, urql 6 leaves a rejection unhandled when it aborts a stream.
      fetch: (url, init) => fetch(url, { ...init, signal: undefined }),
    });
    return queue((observer) => {
      const { unsubscribe } = client.subscription(gql(query), variables).subscribe(({ data, error }) => observer.next({ data, errors: error?.graphQLErrors }));
      return unsubscribe;
    });
  },
  "Apollo Client": async (to, headers, query = follow) => {
    const sse = createClient({ url: to.graphql, headers, retryAttempts: 0 });
    const events = new ApolloLink((operation) => new Observable((sink) => sse.subscribe({ ...operation, query: print(operation.query) }, sink)));
    const isSubscription = ({ operationType }) => operationType === "subscription";
    const client = new ApolloClient({ link: ApolloLink.split(isSubscription, events, new HttpLink({ uri: to.graphql, headers })), cache: new InMemoryCache() });
    return queue((observer) => {
      const subscription = client.subscribe({ query: gql(query), variables, errorPolicy: "all" })
        .subscribe({ next: ({ data, error }) => observer.next({ data, errors: error?.errors }), error: observer.error });
      return () => subscription.unsubscribe();
    });
  },
};

// queue keeps results until they are asked for.
function queue(subscribe) {
  const results = [], waiting = [];
  const put = (result) => (waiting.length > 0 ? waiting.shift()(result) : results.push(result));
  const stop = subscribe({ next: put, error: (error) => put(Promise.reject(error)) });
  return { next: () => (results.length > 0 ? results.shift() : new Promise((resolve) => waiting.push(resolve))), stop };
}

// events creates keys until the client receives the event of one, because a client does not say when its stream is open.
async function events(client, to = server) {
  const first = client.next();
  for (let arrived = false; !arrived; ) {
    await create(to);
    arrived = await Promise.race([first.then(() => true), new Promise((resolve) => setTimeout(resolve, 300, false))]);
  }
  return first;
}

for (const [name, connect] of Object.entries(clients)) {
  describe(name, () => {
    it("receives events", async () => {
      const client = await connect(server, server.headers);
      const first = await events(client);
      const { timestamp, ...event } = first.data.auditEventAdded;
      assert.match(timestamp, /^\d{4}-.*Z$/);
      assert.match(event.resourceId, /^key_/);
      assert.equal(event.action, "api_key_created");
      await client.stop();
    });

    it("shows why a subscription is refused", async () => {
      const client = await connect(server, { authorization: `Bearer ${reader}` });
      const { errors } = await client.next();
      assert.deepEqual(errors.map((e) => e.extensions.code), ["FORBIDDEN"]);
      await client.stop();
    });

    it("shows what is wrong with the operation", async () => {
      const client = await connect(server, server.headers, "subscription { nothing }");
      const { errors } = await client.next();
      assert.deepEqual(errors.map((e) => e.extensions.code), ["GRAPHQL_VALIDATION_FAILED"]);
      await client.stop();
    });
  });
}

describe("graphql-sse", () => {
  it("runs queries", async () => {
    const client = createClient({ url: server.graphql, headers: server.headers });
    const results = [];
    for await (const result of client.iterate({ query: `{ retriever(id: "product-search") { name } }` })) results.push(result);
    assert.deepEqual(results, [{ data: { retriever: { name: "product-search" } } }]);
  });

  it("connects again when the server stops", async () => {
    const first = await start();
    let at = first, connected = 0;
    const client = createClient({
      url: () => at.graphql, headers: () => at.headers, retryAttempts: 10, retry: async () => {}, on: { connected: () => connected++ },
    });
    const results = client.iterate({ query: follow, variables });
    const next = async () => (await results.next()).value;
    await events({ next }, first);
    at = server;
    assert.equal(await first.stop(), 0);
    const event = await events({ next });
    assert.equal(event.data.auditEventAdded.action, "api_key_created");
    assert.equal(connected, 2);
    await results.return();
  });
});
