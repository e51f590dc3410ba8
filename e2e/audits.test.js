// Runs the audits of the GraphQL over HTTP specification, with a key and without.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { serverAudits } from "graphql-http";
import { start } from "./server.js";

let server;
before(async () => { server = await start(); });
after(() => server.stop());

for (const [caller, headers] of [["with a key", () => server.headers], ["without a key", () => ({})]]) {
  describe(`graphql-http ${caller}`, () => {
    const audits = serverAudits({
      url: () => server.graphql,
      fetchFn: (url, init = {}) => fetch(url, { ...init, headers: { ...headers(), ...init.headers } }),
    });

    it("has 61 audits", () => assert.equal(audits.length, 61));
    for (const { id, name, fn } of audits) {
      it(`${id} ${name}`, async () => {
        const { status, reason } = await fn();
        assert.equal(status, "ok", `${id} ${name}: ${reason}`);
      });
    }
  });
}
