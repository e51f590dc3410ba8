// schemathesis sends many requests, valid and not, to the REST endpoints. No response contradicts the OpenAPI document.
import { after, before, it } from "node:test";
import { environment } from "./python.js";
import { start } from "./server.js";

let run;
let server;

// Running Python blocks this process, which then cannot read the log of the server.
before(async () => {
  server = await start({ LOG_LEVEL: "error" });
  run = environment("requirements-schemathesis.txt");
});
after(() => server?.stop());

it("with a key", () => run("schemathesis.py", "", { URL: server.url, KEY: server.key, NAMESPACE: server.namespace }));
it("without a key", () => run("schemathesis.py", "", { URL: server.url, KEY: "", NAMESPACE: server.namespace }));
