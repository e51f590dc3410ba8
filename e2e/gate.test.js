// Runs gateways that ask the server whether a key may execute a retriever, with the configurations of docs/gate.md. The same table of checks
// runs on every one.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import { connect, createServer as listener } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as programs from "./gate/programs.js";
import { start } from "./server.js";

// The rows. down is the status while our server cannot be reached. whole gateways pass our refusals on with their headers and bodies. wait is the
// Retry-After of a 503: Envoy writes its own.
const gateways = {
  nginx: { start: programs.nginx, down: 503, whole: false, wait: "7" },
  Envoy: { start: programs.envoy, down: 503, whole: true, wait: "1" },
  Traefik: { start: programs.traefik, down: 500, whole: true, wait: "7" },
  Caddy: { start: programs.caddy, down: 502, whole: true, wait: "7" },
};

const plaintext = (name) => `ret_sk_e2e_${name}`;
const apiKey = (name, more) => ({
  key_id: `key_${name}`, key_hash: createHash("sha256").update(plaintext(name)).digest("hex"), name, key_type: "retriever",
  internal_id: "int_fjord_media", organization_id: "org_fjord", permissions: ["read"],
  scopes: [{ resource_type: "retriever", resource_id: "ret_gate", operations: ["execute_retriever"] }], ...more,
});
const ofEach = (make) => Object.keys(gateways).map((_, index) => make(index));
const fixture = {
  namespaces: [],
  retrievers: ["ret_gate", "ret_other"].map((id) => ({
    retriever_id: id, retriever_name: `the ${id}`, namespace_id: "ns_fjord_production", internal_id: "int_fjord_media",
  })),
  api_keys: [
    apiKey("shop", { principal_id: "usr/ø" }),
    apiKey("plain"),
    apiKey("wide", { key_type: "standard", scopes: [] }),
    apiKey("page", { allowed_origins: ["https://shop.example.com"] }),
    ...ofEach((index) => apiKey(`doomed_${index}`)),
    ...ofEach((index) => apiKey(`spent_${index}`, { rate_limit_override: 2 })),
  ],
};
const execute = "/v1/retrievers/ret_gate/execute";
const bearer = (name) => ({ authorization: `Bearer ${plaintext(name)}` });
const identity = ["x-key-id", "x-organization-id", "x-internal-id", "x-retriever-id", "x-principal-id"];
const forged = Object.fromEntries(identity.map((name) => [name, "forged"]));

// The checks. send sends a request through the gateway, from the address if one is given. reached contains the requests that reached the platform.
const checks = {
  async "passes a key that may, with our headers in place of the client's"({ send, reached }) {
    const body = JSON.stringify({ inputs: { query: "x".repeat(100_000) } });
    const answer = await send({ path: `${execute}?trace=1`, headers: { ...bearer("shop"), ...forged, origin: "https://shop.example.com" }, body });
    assert.deepEqual([answer.status, answer.body], [200, "executed"]);
    assert.equal(reached.length, 1);
    assert.deepEqual([reached[0].method, reached[0].url, reached[0].body], ["POST", `${execute}?trace=1`, body]);
    assert.deepEqual(identity.map((name) => reached[0].headers[name]), ["key_shop", "org_fjord", "int_fjord_media", "ret_gate", "usr/%C3%B8"]);
  },

  async "passes nothing of the client's where ours is empty"({ send, reached }) {
    assert.equal((await send({ headers: { "x-public-api-key": plaintext("plain"), ...forged } })).status, 200);
    assert.equal(reached[0].headers["x-key-id"], "key_plain");
    assert.equal(reached[0].headers["x-principal-id"] || "", "");
  },

  async "passes every method"({ send, reached }) {
    for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"]) {
      const body = ["GET", "HEAD"].includes(method) ? undefined : "{}";
      assert.equal((await send({ method, headers: bearer("shop"), body })).status, 200, method);
      assert.equal(reached.at(-1).method, method);
    }
  },

  async "refuses what is not a key, and says so"({ send, reached, whole }) {
    const { "x-key-id": id } = forged;
    for (const headers of [{}, bearer("unknown"), { "x-public-api-key": "no key" }, { ...bearer("shop"), "x-public-api-key": plaintext("page") }, { "x-key-id": id }]) {
      const answer = await send({ headers });
      assert.equal(answer.status, 401, JSON.stringify(headers));
      assert.equal(JSON.parse(answer.body).error.message, "This needs a valid API key.");
      assert.match(answer.headers["www-authenticate"], /^Bearer/);
      if (whole) assert.equal(answer.headers["x-refusal"], undefined);
    }
    assert.equal(reached.length, 0);
  },

  async "says why a key may not"({ send, reached }) {
    for (const [reason, options] of Object.entries({
      retriever: { path: "/v1/retrievers/ret_other/execute", headers: bearer("shop") },
      origin: { headers: { ...bearer("page"), origin: "https://evil.example" } },
    })) {
      const answer = await send(options);
      assert.deepEqual([answer.status, answer.headers["x-refusal"], JSON.parse(answer.body).error.details], [403, reason, { reason }]);
    }
    for (const headers of [{ origin: "https://shop.example.com" }, {}]) assert.equal((await send({ headers: { ...bearer("page"), ...headers } })).status, 200);
    assert.equal(reached.length, 2);
  },

  async "executes no retriever but the one that was authorized"({ send, reached }) {
    const paths = [
      "//v1/retrievers/ret_gate/execute", "/v1/retrievers//ret_gate/execute", "/v1/retrievers/x/../ret_gate/execute", "/v1/retrievers/ret_gate%2Fexecute",
      "/v1/retrievers/x%2F..%2Fret_gate/execute", "/v1/retrievers/ret_gate;v=1/execute", "/v1/retrievers/ret_gate/execute;v=1", "/v1/retrievers/ret_gate/execute/",
      "/v1/retrievers/ret_gate/execute/..", "/v1/retrievers/%2e%2e/execute", "/v1/retrievers/./ret_gate/execute", "/v1/retrievers/ret_gate%5Cexecute", "/",
      "/v1/retrievers/ret_other/../ret_gate/execute", "/v1/authorize", "/_authorize", "/v1/retrievers/ret_gate/api-keys",
    ];
    for (const path of paths) {
      for (const key of ["shop", "wide"]) {
        reached.length = 0;
        const answer = await send({ path, headers: { ...bearer(key), ...forged, "x-forwarded-uri": execute, "x-original-uri": execute } });
        // A gateway may clean a path before it asks. Then the platform gets the clean one.
        if (answer.status === 200) assert.deepEqual([reached[0].url, reached[0].headers["x-retriever-id"]], [execute, "ret_gate"], path);
        else assert.deepEqual([answer.status >= 300 && answer.status < 500, reached.length], [true, 0], `${path}: ${answer.status}`);
      }
    }
    const answer = await send({ path: "/v1/retrievers/ret_other/execute", headers: { ...bearer("shop"), "x-forwarded-uri": execute } });
    assert.deepEqual([answer.status, answer.headers["x-refusal"]], [403, "retriever"]);
    reached.length = 0;
    assert.equal((await send({ path: "/v1/retrievers/ret%5Fgate/execute", headers: bearer("wide") })).status, 200); // the same id, escaped
    assert.equal(reached[0].headers["x-retriever-id"], "ret_gate");
  },

  async "passes preflights, and nothing else without a key"({ send, reached }) {
    const preflight = { origin: "https://shop.example.com", "access-control-request-method": "POST", "access-control-request-headers": "authorization" };
    const answer = await send({ method: "OPTIONS", headers: { ...preflight, ...forged } });
    assert.deepEqual([answer.status, answer.headers["access-control-allow-origin"]], [204, "https://shop.example.com"]);
    assert.equal(reached.length, 1);
    for (const name of identity) assert.equal(reached[0].headers[name] || "", "", name);
    assert.equal((await send({ headers: preflight })).status, 401);
    assert.equal((await send({ method: "OPTIONS", headers: { origin: "https://shop.example.com" } })).status, 401);
    assert.equal(reached.length, 1);
  },

  async "refuses the next request after a revocation"({ send, reached, index }) {
    const headers = bearer(`doomed_${index}`);
    let revoked = false;
    const seen = { before: 0, after: 0 };
    const client = async () => {
      for (let left = 25; left > 0;) {
        const late = revoked;
        const { status } = await send({ headers });
        if (late) assert.equal(status, 401);
        else assert.ok(status === 200 || status === 401, `${status}`);
        seen[late ? "after" : "before"] += 1;
        if (late) left -= 1;
      }
    };
    const clients = Array.from({ length: 8 }, client);
    while (reached.length < 100) await sleep(5);
    const answer = await fetch(server.graphql, {
      method: "POST", headers: { ...server.headers, "content-type": "application/json" },
      body: JSON.stringify({ query: `mutation { revokeApiKey(input: { id: "key_doomed_${index}" }) { apiKey { status } } }` }),
    });
    assert.deepEqual(await answer.json(), { data: { revokeApiKey: { apiKey: { status: "REVOKED" } } } });
    revoked = true;
    await Promise.all(clients);
    assert.ok(seen.before >= 100);
    assert.equal(seen.after, 200);
  },

  async "says when a rate limit is exceeded, and until when"({ send, reached, index, whole }) {
    const statuses = [];
    let last;
    for (let i = 0; i < 4; i += 1) statuses.push((last = await send({ headers: bearer(`spent_${index}`) })).status);
    assert.deepEqual([statuses, reached.length], [[200, 200, 429, 429], 2]);
    assert.ok(Number(last.headers["retry-after"]) >= 1 && Number(last.headers["retry-after"]) <= 60, last.headers["retry-after"]);
    if (whole) assert.deepEqual([last.headers["x-ratelimit-limit"], last.headers["x-ratelimit-remaining"], JSON.parse(last.body).error.details.limit], ["2", "0", 2]);
  },

  async "keeps its connections to the server, although bodies are not sent to it"({ send, keys }) {
    await send({ headers: bearer("shop") });
    const before = keys.accepted();
    for (let i = 0; i < 40; i += 1) assert.equal((await send({ headers: bearer("shop"), body: "x".repeat(10_000) })).status, 200);
    assert.ok(keys.accepted() - before <= 2, `${keys.accepted() - before} new connections`);
  },

  async "counts invalid keys by the client's address"({ send, index }) {
    const guesser = `127.0.0.${10 + index}`;
    let status;
    for (let i = 0; i < 800 && status !== 429; i += 1) {
      status = (await send({ from: guesser, headers: { ...bearer(`guess_${i}`), "x-forwarded-for": `192.0.2.${i % 250}` } })).status;
    }
    assert.equal(status, 429);
    assert.equal((await send({ from: `127.0.0.${20 + index}`, headers: bearer("guess") })).status, 401);
  },

  async "is closed while the server cannot know, or cannot be reached"({ send, reached, keys, overloaded, wait, down }) {
    await keys.lead(overloaded);
    const busy = await send({ headers: bearer("shop") });
    assert.deepEqual([busy.status, busy.headers["retry-after"]], [503, wait]);
    await keys.lead(undefined);
    assert.equal((await send({ headers: bearer("shop") })).status, down);
    assert.equal((await send({ headers: {} })).status, down);
    assert.equal(reached.length, 0);
    await keys.lead(Number(new URL(server.url).port));
    await passing(send);
  },
};

// passing waits until a valid key passes.
async function passing(send) {
  for (const end = Date.now() + 30_000; (await send({ headers: bearer("shop") })).status !== 200; await sleep(20)) assert.ok(Date.now() < end, "no key passes");
}

const listening = async (server, port = 0) => {
  await once(server.listen(port, "127.0.0.1"), "listening");
  return server.address().port;
};
const closed = (server) => new Promise((resolve) => { server.close(resolve); });

// platform is what executes retrievers. It answers preflights.
function platform(reached) {
  return createServer(async (req, res) => {
    reached.push({ method: req.method, url: req.url, headers: req.headers, body: await text(req) });
    if (req.method === "OPTIONS") res.writeHead(204, { "access-control-allow-origin": req.headers.origin ?? "" }).end();
    else res.end("executed");
  });
}

// door accepts connections for another port, which can change. Without one, its own port is closed.
async function door(to) {
  const open = new Set();
  let accepted = 0;
  const server = listener((client) => {
    accepted += 1;
    const upstream = connect(to, "127.0.0.1");
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on("error", () => {}).on("close", () => { open.delete(socket); client.destroy(); upstream.destroy(); });
    }
    client.pipe(upstream).pipe(client);
  });
  const port = await listening(server);
  const close = async () => {
    const done = server.listening && closed(server);
    for (const socket of open) socket.destroy();
    await done;
  };
  return {
    port,
    close,
    accepted: () => accepted,
    async lead(next) {
      await close();
      if ((to = next)) await listening(server, port);
    },
  };
}

let server;
before(async () => {
  server = await start({ TRUSTED_PROXIES: "127.0.0.1", AUTH_FAILURES_PER_MINUTE: "400" });
  server.load(fixture);
});
after(() => server?.stop());

for (const [index, [name, row]] of Object.entries(gateways).entries()) {
  describe(name, () => {
    const reached = [];
    const agents = {};
    const executes = platform(reached);
    const busy = createServer((_, res) => { res.writeHead(503, { "retry-after": "7" }).end("{}"); });
    let keys, overloaded, gate, gateway;
    before(async () => {
      keys = await door(Number(new URL(server.url).port));
      overloaded = await listening(busy);
      const free = listener();
      gate = await listening(free);
      await closed(free);
      gateway = await row.start({ gate, keys: keys.port, platform: await listening(executes) });
      await passing(send); // when its configuration is loaded
    });
    after(async () => {
      await gateway?.stop();
      await keys?.close();
      for (const agent of Object.values(agents)) agent.destroy();
      for (const each of [executes, busy]) {
        each.closeAllConnections();
        await closed(each);
      }
    });

    const send = ({ path = execute, method = "POST", headers, body = method === "POST" ? "{}" : undefined, from = `127.0.0.${30 + index}` }) => new Promise((resolve, reject) => {
      agents[from] ??= new Agent({ keepAlive: true });
      request({ host: "127.0.0.1", port: gate, path, method, headers: { ...headers, ...(body && { "content-length": Buffer.byteLength(body) }) }, localAddress: from, agent: agents[from] }, (response) => {
        text(response).then((read) => resolve({ status: response.statusCode, headers: response.headers, body: read }), reject);
      }).on("error", reject).end(body);
    });
    for (const [promise, check] of Object.entries(checks)) {
      it(promise, () => {
        reached.length = 0;
        return check({ ...row, index, send, reached, keys, overloaded });
      });
    }
  });
}
