// The API as programs in Python use it: gql builds a schema of the server's introspection, checks operations and reads answers by it.
import { after, before, describe, it } from "node:test";
import { environment } from "./python.js";
import { start } from "./server.js";

let server, python;

before(async () => {
  python = environment("requirements.txt");
  server = await start();
});
after(() => server?.stop());

// run runs one function of client.py.
const run = (test) => python("client.py", test, { GRAPHQL_URL: server.graphql, GRAPHQL_HEADERS: JSON.stringify(server.headers) });

describe("Python's gql, with graphql-core 3.2", () => {
  it("builds the schema, of all that introspection can tell", () => run("schema"));
  it("asks with variables of every kind", () => run("variables"));
  it("pages through a list", () => run("pages"));
  it("tells an error by its code", () => run("errors"));
});
