// The vendor's own SDK, unmodified: the newest version, and one from before creation answered 200.
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
      // One that no SDK knows, so that it is looked for among all keys only.
      key("newer", { key_type: "robot", permissions: ["fly"], status: "revoked", scopes: [{ ...scope, operations: ["orbit"] }, { resource_type: "galaxy", resource_id: "gal_1" }] }),
      key(limited, { key_type: "standard", permissions: ["read"], scopes: [], rate_limit_override: 1 }),
    ],
  });
});
after(() => server?.stop());

for (const version of ["1.3.760", "1.3.783"]) {
  describe(`mixpeek ${version}`, () => {
    let python;
    before(() => { python = environment(`requirements-mixpeek-${version}.txt`); });
    const run = (test) => python("vendor.py", test, {
      REST_URL: server.url, REST_KEY: server.key, REST_LIMITED_KEY: limited, REST_NAMESPACE: server.namespace, REST_RETRIEVER: retriever,
    });
    it("makes a key and is told its plaintext", () => run("create"));
    it("lists keys of every kind", () => run("lists"));
    it("can read words that are newer than it is", () => run("newer"));
    it("revokes a key", () => run("revoke"));
    it("maps what does not validate", () => run("invalid"));
    it("maps what does not exist", () => run("missing"));
    it("is told when it asks too much", () => run("limited"));
  });
}
