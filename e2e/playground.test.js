// Tests the playground in a browser without internet, with a binary that contains its assets.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "graphql";
import { openPage } from "./browser.js";
import { start } from "./server.js";

let server;

before(async () => {
  const checkout = join(import.meta.dirname, "..");
  if (!process.env.RETRIEVERKEYS) {
    execFileSync("make", ["playground"], { cwd: checkout, stdio: ["ignore", "ignore", "inherit"] });
    process.env.RETRIEVERKEYS = join(checkout, "retrieverkeys");
  }
  server = await start();
});
after(() => server?.stop());

// run presses ▶ after the editors and the schema are loaded. Before, GraphiQL ignores the button.
async function run(page) {
  await page.locator(".graphiql-query-editor .CodeMirror-code").waitFor();
  await page.locator(".result-window .CodeMirror").waitFor();
  await page.locator("[aria-label='Re-fetch GraphQL schema']:enabled").waitFor();
  await page.getByRole("button", { name: "Execute query" }).click();
}

const answer = (page) => page.locator(".result-window");
const headers = (page) => page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden)");
const tab = (page, name) => page.getByRole("tab", { name, exact: true });
const keep = (page) => page.getByLabel("Keep headers in this browser");

// everythingKept returns everything that the browser stores permanently.
const everythingKept = (page) => page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));

// untilKept waits until the page has stored the text. GraphiQL stores it with a delay.
const untilKept = (page, text) => page.waitForFunction((text) => Object.values(localStorage).some((value) => value.includes(text)), text);

async function putHeaders(page, value) {
  await headers(page).click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.insertText(JSON.stringify(value));
}

test("the query of a link runs at once, and the documentation opens", async () => {
  const page = await openPage();
  await page.goto(server.playground);
  await answer(page).getByText('"Storefront"').waitFor();
  assert.equal(page.url(), `${server.url}/playground`, "the key is still in the address bar");

  await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
  const docs = page.locator(".graphiql-doc-explorer");
  await docs.getByRole("link", { name: "Query", exact: true }).click();
  await docs.getByText("needs an API key with the permission").first().waitFor();
  await docs.getByRole("link", { name: "retrievers", exact: true }).click();
  await docs.getByText("by name, then id").waitFor();

  await page.getByRole("button", { name: "Show History" }).click();
  await page.locator(".graphiql-history-item-label").click();
  await headers(page).getByText(server.key).waitFor();

  await page.getByRole("button", { name: "Open settings dialog" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Dark" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.deepEqual(page.complaints, []);
});

test("the browser stores no key", async () => {
  const page = await openPage();
  await page.goto(server.playground);
  await run(page);
  await answer(page).getByText('"Storefront"').waitFor();
  await tab(page, "CreateKey").click();
  await page.locator(".graphiql-execute-button[aria-haspopup=menu]").click(); // the menu appears when GraphiQL has parsed the operations
  await page.getByRole("menuitem", { name: "CreateKey" }).click();
  await answer(page).getByText('"ret_sk_').first().waitFor();
  await untilKept(page, '"operationName":"CreateKey"}]'); // the history, where GraphiQL by default stores headers
  await untilKept(page, '"activeTabIndex":7');

  await page.reload();
  await headers(page).getByText("YOUR_KEY").waitFor();
  const kept = await everythingKept(page);
  assert.match(kept, /CreateKey/);
  assert.doesNotMatch(kept, /sk_/);
  assert.deepEqual(page.complaints, []);
});

test("headers are stored on request and removed again", async () => {
  const page = await openPage();
  await page.goto(server.playground);
  await keep(page).check();
  await untilKept(page, server.key);
  await page.getByText("Anybody who can use this browser can read your key.").waitFor();

  await page.goto("about:blank");
  await page.goto(`${server.url}/playground`);
  await headers(page).getByText(server.key).waitFor();
  assert.ok(await keep(page).isChecked());
  await run(page);
  await answer(page).getByText('"Storefront"').waitFor();

  await keep(page).uncheck();
  await page.waitForFunction((key) => !Object.values(localStorage).some((value) => value.includes(key)), server.key);
  await page.reload();
  await headers(page).getByText("YOUR_KEY").waitFor();
  assert.ok(!await keep(page).isChecked());
  assert.doesNotMatch(await everythingKept(page), /sk_/);
  assert.deepEqual(page.complaints, []);
});

test("a key is entered once for the schema and all tabs", async (t) => {
  const locked = await start({ INTROSPECTION: "authenticated" });
  t.after(() => locked.stop());
  const page = await openPage();
  await page.goto(`${locked.url}/playground`);
  await page.getByText("Enter a valid API key in the headers, then load the schema again.").waitFor();
  await tab(page, "FilterKeys").click();
  await tab(page, "Retrievers").click();
  await putHeaders(page, { Authorization: `Bearer ${locked.key}`, "X-Namespace": locked.namespace });
  await page.getByRole("button", { name: "Load the schema again" }).click();
  await page.getByText("The schema could not be loaded").waitFor({ state: "detached" });

  await tab(page, "FilterKeys").click();
  await headers(page).getByText(locked.key).waitFor();
  await page.getByRole("button", { name: "New tab" }).click();
  await headers(page).getByText(locked.key).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("an invalid key and a disabled introspection are explained", async (t) => {
  const page = await openPage();
  await page.goto(`${server.url}/playground#headers=${encodeURIComponent(JSON.stringify({ Authorization: "Bearer wrong" }))}`);
  await page.getByText("Enter a valid API key in the headers").waitFor();
  assert.ok(page.complaints.every((complaint) => complaint.includes("401")), `${page.complaints}`);

  const silent = await start({ INTROSPECTION: "off" });
  t.after(() => silent.stop());
  const other = await openPage();
  await other.goto(silent.playground);
  await other.getByText("Operations still run").waitFor();
  await run(other);
  await answer(other).getByText('"Storefront"').waitFor();
  assert.deepEqual(other.complaints, []);
});

test("every example runs on the demo", async () => {
  const page = await openPage();
  await page.goto(`${server.url}/playground`);
  const examples = await page.locator('script[type="application/graphql"]')
    .evaluateAll((scripts) => scripts.map((script) => ({ query: script.textContent, variables: JSON.parse(script.dataset.variables ?? "{}") })));
  const answers = {};
  async function ask({ query, variables }, operationName) {
    const response = await fetch(server.graphql, {
      method: "POST",
      headers: { ...server.headers, "content-type": "application/json" },
      body: JSON.stringify({ query, variables, operationName }),
    });
    const { data, errors } = await response.json();
    assert.equal(errors, undefined, `${operationName}: ${JSON.stringify(errors)}`);
    answers[operationName] = data;
  }
  for (const example of examples) {
    for (const { name } of parse(example.query).definitions) {
      const keyId = answers.RotateKey?.rotateApiKey.apiKey.keyId ?? answers.CreateKey?.createApiKey.apiKey.keyId
        ?? (name.value === "OneKey" && answers.FilterKeys.retriever.apiKeys.results[0].keyId);
      await ask(keyId ? { ...example, variables: { id: keyId } } : example, name.value);
    }
  }
  assert.equal(answers.Anything.node.__typename, "Retriever");
  assert.equal(answers.RevokeKey.revokeApiKey.apiKey.status, "REVOKED");
  for (const name of ["FilterKeys", "UnusedKeys", "ExpiringKeys", "PageOfKeys"]) {
    assert.ok(answers[name].retriever.apiKeys.total > 0, `${name} shows nothing`);
  }
  assert.ok(answers.OtherNamespace.namespace.retrievers.results.length > 0);
});

test("a narrow window stacks the editors and the response", async () => {
  const page = await openPage({ viewport: { width: 400, height: 800 }, colorScheme: "dark" });
  await page.goto(server.playground);
  await run(page);
  await answer(page).getByText('"total"').first().waitFor();
  const editors = await page.locator(".graphiql-editors").boundingBox();
  const response = await page.locator(".graphiql-response").boundingBox();
  assert.ok(response.y >= editors.y + editors.height && response.width > 250 && response.height > 150, JSON.stringify({ editors, response }));
  assert.ok(response.x + response.width <= 400 && response.y + response.height <= 800, JSON.stringify(response));
  assert.deepEqual(page.complaints, []);
});

test("a mutation in a link waits for the button", async () => {
  const page = await openPage();
  const query = 'mutation { createApiKey(input: { retrieverId: "product-search", name: "By a link" }) { apiKey { name } } }';
  await page.goto(server.playground.replace(/query=[^&]*/, `query=${encodeURIComponent(query)}`));
  await run(page);
  await answer(page).getByText('"By a link"').waitFor();
  const { data } = await (await fetch(server.graphql, {
    method: "POST", headers: { ...server.headers, "content-type": "application/json" },
    body: JSON.stringify({ query: '{ organization { apiKeys(filter: { search: "by a link" }) { total } } }' }),
  })).json();
  assert.equal(data.organization.apiKeys.total, 1, "it ran by itself too");
});

test("the console opens a view's query in the playground, without the key in a URL", async () => {
  const page = await openPage();
  await page.goto(server.console);
  await page.getByRole("link", { name: "Storefront" }).first().waitFor();
  await page.getByRole("button", { name: "GraphQL" }).click();
  await page.getByLabel("Operation").selectOption("Keys");
  const [playground] = await Promise.all([page.context().waitForEvent("page"), page.getByRole("button", { name: "Open in the playground" }).click()]);
  await answer(playground).getByText('"node"').first().waitFor();
  await answer(playground).getByText('"total"').first().waitFor();
  assert.equal(playground.url(), `${server.url}/playground`);
  assert.deepEqual(page.complaints, []);
});
