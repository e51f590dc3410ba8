// Runs the vendor's own SDK: the newest version, and one from before creation returned 200.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { environment } from "./python.js";
import { start } from "./server.js";

const retriever = "product-search";
const limited = "sk_e2e_limited";
let server;

before(async () => {
  server = await start();
  const answer = await fetch(`${server.url}/v1/retrievers/${retriever}/api-keys`, { headers: server.headers });
  const [{ scopes: [scope], internal_id }] = (await answer.json()).results;
  const key = (id, fields) => ({
    key_id: `key_vendor_${id}`, key_hash: createHash("sha256").update(id).digest("hex"), name: id, internal_id, user_id: "usr_vendor", scopes: [scope], ...fields,
  });
  const resources = ["organization", "user", "api_key", "namespace", "collection", "document", "bucket", "retriever", "cluster", "taxonomy",
    "storage_connection", "alert", "annotation", "secret", "webhook"];
  const operations = ["read_data", "write_data", "delete_data", "execute_retriever", "create_retriever", "delete_retriever", "execute_job", "cancel_job",
    "create_cluster", "delete_cluster", "modify_cluster", "modify_infrastructure", "manage_permissions"];
  server.load({
    namespaces: [], retrievers: [],
    api_keys: [
      ...["standard", "marketplace_subscription", "retriever", "user_scoped", "session"].map((type) => key(type, { key_type: type })),
      key("bare"),
      key("internal", { is_internal: true }),
      key("resources", { scopes: [scope, ...resources.map((r) => ({ resource_type: r, resource_id: "*", operations }))] }),
      key("permissions", { permissions: ["read", "write", "delete", "admin"] }),
      // Values that no SDK knows. The key is revoked, so only the list of all keys contains it.
      key("newer", { key_type: "robot", permissions: ["fly"], status: "revoked", scopes: [{ ...scope, operations: ["orbit"] }, { resource_type: "galaxy", resource_id: "gal_1" }] }),
      key(limited, { key_type: "standard", permissions: ["read"], scopes: [], rate_limit_override: 1 }),
    ],
  });
});
after(() => server?.stop());

const tests = {
  create: "creates a key and gets its plaintext",
  lists: "lists keys of every kind",
  newer: "reads enum values that are newer than the SDK",
  revoke: "revokes a key",
  invalid: "maps validation errors",
  missing: "maps missing objects",
  limited: "maps rate limit errors",
};

for (const version of ["1.3.760", "1.3.783"]) {
  describe(`mixpeek ${version}`, () => {
    let failures;
    before(() => {
      const python = environment(`requirements-mixpeek-${version}.txt`);
      failures = JSON.parse(python("vendor.py", Object.keys(tests), {
        REST_URL: server.url, REST_KEY: server.key, REST_LIMITED_KEY: limited, REST_NAMESPACE: server.namespace, REST_RETRIEVER: retriever,
      }, "pipe"));
    });
    for (const [name, does] of Object.entries(tests)) it(does, () => assert.equal(failures[name], undefined));
  });
}
