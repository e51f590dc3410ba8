// Generates a Go client with genqlient from the server's schema and the settings in docs/clients.md, and runs it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { start } from "./server.js";

const genqlient = "github.com/Khan/genqlient@v0.8.1";
const folder = mkdtempSync(join(tmpdir(), "retrieverkeys-genqlient-"));
const go = (...args) => execFileSync("go", args, { cwd: folder, env: { ...process.env, GOFLAGS: "-mod=mod", GOWORK: "off" }, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
const write = (name, text) => writeFileSync(join(folder, name), text);
const read = (name) => readFileSync(join(folder, name), "utf8");
let server;
let client;

before(async () => {
  server = await start();
  write("schema.graphql", server.run("schema"));
  write("genqlient.yaml", `schema: schema.graphql
operations: [operations.graphql]
generated: generated.go
package: main
optional: pointer
bindings:
  Date:
    type: string
  DateTime:
    type: string
  Long:
    type: int64
`);
  write("operations.graphql", `query Keys($id: ID!) {
  retriever(id: $id) {
    apiKeys(first: 2) {
      total
      results {
        name
        status
      }
    }
  }
}

mutation Create($input: CreateApiKeyInput!) {
  createApiKey(input: $input) {
    key
    apiKey {
      id
    }
  }
}

# @genqlient(for: "UpdateApiKeyInput.description", omitempty: true)
# @genqlient(for: "UpdateApiKeyInput.expiresAt", omitempty: true)
# @genqlient(for: "UpdateApiKeyInput.allowedOrigins", omitempty: true)
# @genqlient(for: "UpdateApiKeyInput.rateLimitOverride", omitempty: true)
mutation Rename(
  $input: UpdateApiKeyInput!
) {
  updateApiKey(input: $input) {
    apiKey {
      name
      expiresAt
    }
    cleared
  }
}
`);
  write("main.go", `package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/Khan/genqlient/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

type transport struct{}

func (transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+os.Getenv("KEY"))
	r.Header.Set("X-Namespace", os.Getenv("NAMESPACE"))
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	ctx, client := context.Background(), graphql.NewClient(os.Getenv("URL"), &http.Client{Transport: transport{}})
	list, err := Keys(ctx, client, "product-search")
	check(err)
	fmt.Println(len(list.Retriever.ApiKeys.Results), list.Retriever.ApiKeys.Results[0].Status == ApiKeyStatusActive, list.Retriever.ApiKeys.Total > 2)
	name, end := "New", "2040-01-01T00:00:00Z"
	made, err := Create(ctx, client, CreateApiKeyInput{RetrieverId: "product-search", Name: "Old", ExpiresAt: &end})
	check(err)
	fmt.Println(len(made.CreateApiKey.Key) > 40)
	renamed, err := Rename(ctx, client, UpdateApiKeyInput{Id: made.CreateApiKey.ApiKey.Id, Name: &name})
	check(err)
	fmt.Println(renamed.UpdateApiKey.ApiKey.Name, *renamed.UpdateApiKey.ApiKey.ExpiresAt, renamed.UpdateApiKey.Cleared)
	_, err = Rename(ctx, client, UpdateApiKeyInput{Id: "key_none", Name: &name})
	var failed gqlerror.List
	fmt.Println(errors.As(err, &failed), failed[0].Extensions["code"])
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
`);
  go("mod", "init", "client");
  go("get", "-tool", genqlient);
  go("get", "golang.org/x/tools@v0.52.0"); // the version that genqlient requires does not compile with this Go
  go("mod", "tidy");
  go("tool", "genqlient");
  go("build", "-o", "client", ".");
  client = () => execFileSync(join(folder, "client"), { env: { URL: `${server.url}/graphql`, KEY: server.key, NAMESPACE: server.namespace }, encoding: "utf8" });
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it("genqlient lists and creates keys, renames one without clearing its fields, and reads error codes", () => {
  assert.equal(client(), "2 true true\ntrue\nNew 2040-01-01T00:00:00.000Z []\ntrue NOT_FOUND\n");
});

it("without the setting, a rename clears fields, and the payload names them", () => {
  write("operations.graphql", read("operations.graphql").replaceAll(/^# @genqlient.*\n/gm, ""));
  go("tool", "genqlient");
  write("main.go", read("main.go").replace("*renamed.UpdateApiKey.ApiKey.ExpiresAt", "renamed.UpdateApiKey.ApiKey.ExpiresAt == nil"));
  go("build", "-o", "client", ".");
  assert.match(client(), /^New true \[expiresAt\]$/m);
});
