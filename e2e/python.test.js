// Tests the API with the Python client gql, which builds the schema from introspection, validates operations and parses responses with it.
import { after, before, describe, it } from "node:test";
import { environment } from "./python.js";
import { start } from "./server.js";

let server, python;

before(async () => {
  python = environment("requirements.txt");
  server = await start();
});
after(() => server?.stop());

// run runs a function of client.py.
const run = (test) => python("client.py", test, { GRAPHQL_URL: server.graphql, GRAPHQL_HEADERS: JSON.stringify(server.headers) });

describe("Python's gql, with graphql-core 3.2", () => {
  it("builds the schema from a full introspection", () => run("schema"));
  it("sends variables of every type", () => run("variables"));
  it("pages through a list", () => run("pages"));
  it("reads an error's code", () => run("errors"));
});
