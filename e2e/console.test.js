// Tests the console in a browser, with the real binary and its demo.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { openPage } from "./browser.js";
import { consolePicture } from "./pictures.js";
import { start } from "./server.js";

const tenant = { internal_id: "int_fjord_media", organization_id: "org_fjord_media" };
const plaintexts = {};

// keyDocument is a stored key. Its plaintext is known, so that tests can use it.
function keyDocument(id, fields = {}) {
  plaintexts[id] = `sk_${id.replace(/\W/g, "")}${"x".repeat(53)}`.slice(0, 56);
  return {
    ...tenant, key_id: `key_${id}`, key_hash: createHash("sha256").update(plaintexts[id]).digest("hex"), key_prefix: `${plaintexts[id].slice(0, 10)}...`,
    key_type: "standard", user_id: "usr_nina", created_by: "usr_nina", name: id, permissions: ["admin"], scopes: [], status: "active", created_at: { $date: "2024-01-01T00:00:00Z" }, ...fields,
  };
}

const only = (retriever) => [{ resource_type: "retriever", resource_id: retriever, operations: ["execute_retriever"] }];
const hostile = ["<img src=x onerror=alert(1)>", "\u202egnp.exe", "😀".repeat(100), "{{7*7}}${7*7}", "a".repeat(400), "مفتاح العرض"];

let server;

before(async () => {
  server = await start();
  server.load({ api_keys: [
    keyDocument("reader", { permissions: ["read"] }),
    keyDocument("writer", { permissions: ["write"] }),
    keyDocument("staging", { permissions: ["write"], scopes: [{ resource_type: "namespace", resource_id: "ns_fjord_staging" }] }),
    keyDocument("executor", { key_type: "retriever", permissions: ["read"], scopes: only("ret_product_search") }),
    ...hostile.map((name, i) => keyDocument(`hostile${i}`, { name, description: name, user_id: name, created_by: name, key_type: "retriever", permissions: ["read"], scopes: only("ret_product_search"), created_at: { $date: "2023-01-01T00:00:00Z" } })),
  ] });
});
after(() => server?.stop());

async function ask(query, variables, to = server) {
  const response = await fetch(to.graphql, { method: "POST", headers: { ...to.headers, "content-type": "application/json" }, body: JSON.stringify({ query, variables }) });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

const create = async (name, retriever = "product-search", to = server) => (await ask(`mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { key apiKey { keyId name } } }`, { input: { retrieverId: retriever, name } }, to)).createApiKey;

// relay resolves to the server at an address of its own. Before a request is passed on, intercept gets its operation, its response and its
// whole text. If intercept returns true, it has answered.
async function relay(t, intercept, { behind = server, prefix = "" } = {}) {
  const proxy = createServer(async (from, to) => {
    if (!from.url.startsWith(prefix)) return to.writeHead(404).end();
    const body = Buffer.concat(await from.toArray());
    if (intercept(from.method === "POST" ? JSON.parse(body) : {}, to, `${from.url} ${body}`)) return;
    const onward = request(behind.url + from.url.slice(prefix.length), { method: from.method, headers: from.headers }, (answer) => {
      to.writeHead(answer.statusCode, answer.headers);
      answer.pipe(to);
    });
    onward.on("error", () => to.destroy()).end(body);
    to.on("close", () => onward.destroy());
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.after(() => proxy.closeAllConnections() ?? proxy.close());
  const url = `http://127.0.0.1:${proxy.address().port}${prefix}`;
  return { ...behind, url, console: behind.console.replace(behind.url, url) };
}

// altered is an intercept for relay. It answers an operation with what change makes of the server's data.
const altered = (name, change) => ({ operationName, query, variables }, to) => operationName === name
  && Boolean(ask(query, variables).then((data) => change(data, variables)).then((data) => to.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ data }))));

// visit opens the console with the demo's key, at a route.
async function visit(options = {}, route = "", to = server) {
  const page = await openPage({ permissions: ["clipboard-read", "clipboard-write"], ...options });
  await page.goto(to.console);
  await row(page).first().waitFor();
  if (route) await page.evaluate((route) => { location.hash = route; }, route);
  return page;
}

// enter opens the console with another key.
async function enter(page, key, to = server) {
  await page.goto(`${to.url}/`);
  await page.getByLabel("API key of your organization").fill(key);
  await page.keyboard.press("Enter");
}

const row = (page, name) => page.locator(".keys tbody tr:not(.skeleton)").filter(name && { has: page.getByRole("link", { name, exact: true }) });
const names = (page) => page.locator(".keys tbody th a").evaluateAll((links) => links.map((link) => link.textContent));
const range = (page, text) => page.locator(".range").getByText(text, { exact: true }).waitFor();
const panel = (page) => page.getByRole("complementary", { name: "Key" });
const dialog = (page, name) => page.getByRole("dialog", { name });
const params = (page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).hash.split("?")[1]));
const search = (page) => page.getByRole("searchbox", { name: "Search keys" });
const stored = (page) => page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));

// check fails if axe finds a violation of WCAG 2.2 AA or a bad practice.
async function check(page, what) {
  await page.evaluate(`typeof axe === "undefined" && (() => { ${axe.source} })()`);
  const violations = await page.evaluate(async () => (await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })).violations
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`).join("\n")}`));
  assert.deepEqual(violations, [], what);
}

// fits reports whether the page scrolls in no direction, or only down if the window is too small for fixed parts.
const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && (innerWidth < 900 || document.documentElement.scrollHeight <= innerHeight));

test("the printed link opens all keys, and the key leaves the address bar", async () => {
  const page = await visit();
  assert.equal(await page.evaluate(() => location.hash), "#/keys");
  assert.ok(await search(page).evaluate((box) => box === document.activeElement), "the search has no focus");
  await page.getByRole("link", { name: "Fjord Media" }).waitFor();
  const { organization } = await ask("{ organization { apiKeys(first: 25) { total results { name } } } }");
  await range(page, `1–25 of ${organization.apiKeys.total}`);
  assert.deepEqual(await names(page), organization.apiKeys.results.map(({ name }) => name));
  assert.doesNotMatch(await stored(page), /sk_/);
  assert.doesNotMatch(await page.content(), new RegExp(server.key));
  await page.reload();
  await page.getByLabel("API key of your organization").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("a link brings a key only to this machine", async () => {
  const page = await openPage();
  await page.route("http://console.example/**", async (route) => route.fulfill({ response: await route.fetch({ url: route.request().url().replace("http://console.example", server.url) }) }));
  await page.goto(server.console.replace(server.url, "http://console.example"));
  await page.getByRole("alert").getByText("only to a server on your own machine").waitFor();
  assert.equal(page.url(), "http://console.example/#/keys");
  assert.deepEqual(page.complaints, []);
});

test("a key is kept in the tab on request, and forgotten", async () => {
  const page = await openPage();
  await page.goto(`${server.url}/#/keys?order=name`);
  await page.getByLabel("API key of your organization").fill(server.key);
  await page.getByLabel("Keep it until I close this tab").check();
  await page.getByRole("button", { name: "Open" }).click();
  await row(page).first().waitFor();
  assert.deepEqual(params(page), { order: "name" });
  await page.reload();
  await row(page).first().waitFor();
  await page.getByRole("button", { name: "Forget key" }).click();
  await page.getByText("The key is forgotten.").waitFor();
  assert.doesNotMatch(await stored(page), /sk_/);
  assert.equal(await row(page).count(), 0);
  await page.reload();
  await page.getByLabel("API key of your organization").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("a link's key replaces the one that the tab keeps", async () => {
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await page.getByLabel("Keep it until I close this tab").check();
  await page.getByLabel("API key of your organization").fill(plaintexts.writer);
  await page.getByRole("button", { name: "Open" }).click();
  await page.locator("header").getByRole("link", { name: "nina" }).waitFor();
  await page.reload();
  await page.locator("header").getByRole("link", { name: "nina" }).waitFor();
  await page.evaluate((hash) => { location.hash = hash; }, new URL(server.console).hash);
  await page.locator("header").getByRole("link", { name: "ingrid" }).waitFor();
  assert.ok(!(await stored(page)).includes(plaintexts.writer));
  assert.deepEqual(page.complaints, []);
});

test("a page that is gone leads to the first one, and Back is no trap", async (t) => {
  const page = await visit({}, "", await relay(t, altered("Keys", ({ node }, { after }) => {
    if (after) (node.some ?? node.apiKeys).results = [];
    return { node };
  })));
  await row(page).first().getByRole("link").click();
  await panel(page).getByText("SHA-256").waitFor();
  const [hash, entries] = await page.evaluate(() => [location.hash, history.length]);
  await page.getByRole("button", { name: "Next page" }).click();
  await page.waitForFunction(([hash, entries]) => location.hash === hash && history.length === entries + 1, [hash, entries]);
  assert.deepEqual(page.complaints, []);
});

test("filters, order and pages are in the URL, and Back returns to them", async () => {
  const page = await visit();
  const { total } = (await ask("{ organization { apiKeys(includeRevoked: true) { total } } }")).organization.apiKeys;
  await page.getByRole("button", { name: "All", exact: true }).click();
  await range(page, `1–25 of ${total}`);
  const next = page.getByRole("button", { name: "Next page" });
  await next.click();
  await range(page, `26–50 of ${total}`);
  assert.equal(params(page).status, "all");
  const second = await names(page);
  await next.click();
  await range(page, `51–75 of ${total}`);
  await page.getByRole("button", { name: "Previous page" }).click();
  await range(page, `26–50 of ${total}`);
  assert.deepEqual(await names(page), second);
  await page.getByRole("button", { name: "Last page" }).click();
  await range(page, `${total - 24}–${total} of ${total}`);
  await page.getByRole("button", { name: "First page" }).click();
  await range(page, `1–25 of ${total}`);

  await page.getByRole("columnheader", { name: "Key" }).getByRole("button").click();
  await page.locator("[aria-sort=ascending]", { hasText: "Key" }).waitFor();
  await page.waitForFunction(() => document.querySelector("[aria-busy=false] tbody a"));
  const { results } = (await ask("{ organization { apiKeys(includeRevoked: true, first: 25, orderBy: { field: NAME, direction: ASC }) { results { name } } } }")).organization.apiKeys;
  assert.deepEqual(await names(page), results.map(({ name }) => name));
  assert.deepEqual(params(page), { status: "all", order: "name" });

  await page.getByLabel("Type").selectOption("Organization");
  await page.getByLabel("Expiry").selectOption("Never expires");
  await page.getByLabel("Last use").selectOption("Never used");
  await page.waitForURL(/used=never/);
  await page.locator(".keys[aria-busy=false]").waitFor();
  await row(page, "Migration").waitFor();
  const used = await page.locator("td.used").allTextContents();
  assert.deepEqual([...new Set(used)], ["never"]);
  await page.getByLabel("Namespace or retriever").selectOption({ label: "\u2068catalog-preview\u2069" });
  await page.waitForURL(/in=ret_catalog_preview/);
  await page.goBack();
  await row(page, "Migration").waitFor();
  await page.goBack();
  await page.goBack();
  await page.goBack();
  await range(page, `1–25 of ${total}`);
  assert.deepEqual(params(page), { status: "all", order: "name" });
  assert.deepEqual(page.complaints, []);
});

test("search finds names and ids, and a pasted key by its hash alone", async (t) => {
  const { key, apiKey } = await create("Pasted");
  const sent = [];
  const page = await visit({}, "", await relay(t, (operation, to, text) => { sent.push(text); }));
  await search(page).fill("pAsTeD");
  await page.waitForURL(/search=pAsTeD/);
  await row(page, "Pasted").waitFor();
  await search(page).fill(apiKey.keyId);
  await panel(page).getByRole("heading", { name: "Pasted" }).waitFor();
  await page.keyboard.press("Escape");

  await page.evaluate((key) => navigator.clipboard.writeText(key), key);
  await page.getByRole("link", { name: "Trail" }).click();
  await search(page).focus();
  await page.keyboard.press("ControlOrMeta+V");
  await panel(page).getByRole("heading", { name: "Pasted" }).waitFor();
  assert.equal(await search(page).inputValue(), "");
  assert.ok(page.url().includes(`#/keys/${apiKey.keyId}`));

  await search(page).fill(`${key.slice(0, 30)}${"0".repeat(30)}`);
  await page.getByText("No key that you can see has this hash.").waitFor();
  await page.getByRole("button", { name: `Keys that begin with ${key.slice(0, 10)}` }).click();
  await row(page, "Pasted").waitFor();
  assert.ok(!sent.some((text) => text.includes(key.slice(0, 20))), "the plaintext was sent");
  assert.ok(sent.some((text) => text.includes(createHash("sha256").update(key).digest("hex"))));

  await search(page).fill("there is no such key");
  await page.getByText("No key matches.").waitFor();
  await page.getByRole("button", { name: "Remove all filters" }).click();
  await row(page).nth(3).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("a key anywhere in a text is neither sent nor in the URL", async (t) => {
  const { key, apiKey } = await create("Within a text");
  const sent = [];
  const page = await visit({}, "", await relay(t, (operation, to, text) => { sent.push(text); }));
  await page.evaluate(() => {
    globalThis.urls = [];
    for (const name of ["pushState", "replaceState"]) {
      const change = history[name].bind(history);
      history[name] = (...given) => { urls.push(String(given[2])); change(...given); };
    }
  });
  for (const text of [`Bearer ${key}`, `"${key}"`, `KEY=${key}`, `${key},`, `${key}.`, `x ${key} y`, `a%22${key}%22`]) {
    await search(page).fill(text);
    await panel(page).getByRole("heading", { name: "Within a text" }).waitFor();
    assert.equal(await search(page).inputValue(), "", text.replace(key, "KEY"));
    await page.keyboard.press("Escape");
    await panel(page).waitFor({ state: "hidden" });
  }
  await search(page).fill("risk_assessment"); // a name
  await page.waitForURL(/search=risk_assessment/);
  for (const route of [`keys?search=x+${key}&order=name`, `keys?by=${key}&order=name`, `trail?key=${key}&order=name`, `keys/${key}?order=name`]) {
    await page.evaluate((route) => { location.hash = `#/${route}`; }, route);
    await page.waitForFunction(() => !location.hash.includes("sk_"));
    assert.deepEqual(params(page), { order: "name" });
  }
  assert.ok(sent.some((text) => text.includes(apiKey.keyId)));
  assert.ok(!sent.some((text) => text.includes(key)), "the plaintext was sent");
  assert.ok(!await page.evaluate((key) => urls.some((url) => decodeURIComponent(url).includes(key)), key), "the plaintext was in the URL");
  assert.deepEqual(page.complaints, []);
});

test("the answer to an earlier search does not win", async (t) => {
  let asked, answer;
  const wait = new Promise((resolve) => { asked = resolve; });
  const answered = new Promise((resolve) => { answer = resolve; });
  const page = await visit({}, "", await relay(t, altered("Names", async () => {
    asked();
    await answered;
    return { nodes: [null] };
  })));
  await search(page).fill("key_not_there");
  await wait;
  await search(page).fill("Android");
  await page.waitForURL(/search=Android/);
  const late = page.waitForEvent("requestfinished");
  answer();
  await late;
  await page.getByRole("button", { name: "All", exact: true }).click();
  await page.waitForURL(/status=all/);
  assert.deepEqual(params(page), { search: "Android", status: "all" });
});

test("any URL is shown", async () => {
  const page = await visit({}, "#/keys/%");
  await panel(page).getByText("You cannot see a key with this id.").waitFor();
  await page.evaluate(() => { location.hash = "#/keys?after=nonsense&search=%&order=name"; });
  await page.getByRole("link", { name: "Trail" }).click();
  await page.locator(".sentences").first().waitFor();
  assert.deepEqual(page.complaints, []);
});

test("a key is created, and its plaintext cannot be lost by accident", async () => {
  const page = await visit({}, "#/keys?order=-created");
  await page.getByRole("button", { name: "New key" }).click();
  const form = dialog(page, "New key");
  await form.getByLabel("Retriever").selectOption({ label: "\u2068support-articles\u2069 in \u2068production\u2069" });
  await form.getByLabel("Origins").fill("shop.example");
  await page.keyboard.press("ControlOrMeta+Home");
  await form.getByRole("button", { name: "Create the key" }).click();
  await form.getByText("Name must have 1 to 100 characters.").waitFor();
  assert.equal(await form.getByLabel("Name").getAttribute("aria-invalid"), "true");
  await form.getByLabel("Name").fill("Made here");
  await page.keyboard.press("Enter");
  await form.getByText("Origins 1 must be an origin").waitFor();
  await form.getByLabel("Origins").fill("https://shop.example\nhttps://*.shop.example");
  await form.getByLabel("Requests a minute").fill("many");
  await form.getByRole("button", { name: "Create the key" }).click();
  await form.getByText("must be a number").waitFor();
  await form.getByLabel("Requests a minute").fill("600");
  await page.keyboard.press("Enter");

  const shown = dialog(page, "Your new key");
  const plaintext = shown.locator(".copyable code").first();
  const key = await plaintext.textContent();
  assert.match(key, /^ret_sk_\w{53}$/);
  await page.keyboard.press("Escape");
  await shown.getByText("Nobody can show this key again.").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.mouse.click(5, 5);
  await page.goBack();
  await page.evaluate(() => document.querySelector("dialog").close()); // as Android's Back does
  await plaintext.waitFor();
  const leaving = page.waitForEvent("dialog");
  await page.evaluate(() => { setTimeout(() => location.reload()); });
  await (await leaving).dismiss();
  assert.equal(await plaintext.textContent(), key);
  await shown.getByRole("button", { name: "Back" }).click();
  await shown.getByRole("button", { name: "Copy the key" }).click();
  await shown.getByText("Copied").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
  await shown.getByText("Try it").click();
  const command = await shown.locator("code").last().textContent();
  const [, url, authorization, origin] = /^curl -i '(\S+)' \\\n {2}-H "Authorization: (Bearer \S+)" \\\n {2}-H 'Origin: (\S+)'$/.exec(command);
  assert.equal((await fetch(url, { headers: { authorization, origin } })).status, 200);
  await check(page, "the dialog of a plaintext");
  await shown.getByRole("button", { name: "I have stored it" }).click();
  await shown.waitFor({ state: "detached" });
  assert.doesNotMatch(await page.content(), new RegExp(key));
  assert.doesNotMatch(await stored(page), /sk_/);
  await row(page, "Made here").click();
  await panel(page).getByText("A request for support-articles from https://shop.example would pass now.").waitFor();
  const { organization } = await ask('{ organization { apiKeys(filter: { search: "made here" }) { results { rateLimitOverride allowedOrigins expiresAt } } } }');
  const [made] = organization.apiKeys.results;
  assert.deepEqual([made.rateLimitOverride, made.allowedOrigins], [600, ["https://shop.example", "https://*.shop.example"]]);
  assert.ok(new Date(made.expiresAt) > Date.now());
  assert.deepEqual(page.complaints, []);
});

test("a key is edited, rotated and revoked with a reason", async () => {
  const { apiKey } = await create("To change");
  const page = await visit({}, `#/keys/${apiKey.keyId}`);
  await panel(page).getByRole("heading", { name: "To change" }).waitFor();
  await panel(page).getByRole("button", { name: "Edit" }).click();
  await dialog(page, "Edit the key").getByLabel("Name").fill("Changed");
  await dialog(page).getByLabel("Expires").selectOption("On a date");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).getByText("Choose a day.").waitFor();
  await dialog(page).getByLabel("Last day").fill("2001-01-01");
  await page.keyboard.press("Enter");
  await dialog(page).getByText("Expires must be in the future.").waitFor();
  await dialog(page).getByLabel("Expires").selectOption("In 30 days");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await panel(page).getByRole("heading", { name: "Changed" }).waitFor();
  await row(page, "Changed").waitFor();

  await panel(page).getByRole("button", { name: "Rotate" }).click();
  await dialog(page, "Rotate Changed").getByLabel("The old key keeps working").selectOption("for an hour");
  await dialog(page).getByLabel("Expires").selectOption("On a date");
  await dialog(page).getByLabel("Last day").fill("2001-01-01");
  await dialog(page).getByRole("button", { name: "Rotate the key" }).click();
  await dialog(page).getByText("Expires must be in the future.").waitFor();
  await dialog(page).getByLabel("Expires").selectOption("In 7 days");
  await dialog(page).getByRole("button", { name: "Rotate the key" }).click();
  await dialog(page, "The new key").getByText("The old key works until").waitFor();
  await dialog(page, "The new key").getByRole("button", { name: "I have stored it" }).click();
  await panel(page).getByText("Replaces").waitFor();
  await panel(page).locator("dd", { hasText: "in 7 days" }).waitFor();
  await panel(page).getByRole("link", { name: apiKey.keyId }).click();
  await panel(page).getByText("Replaced by").waitFor();
  await page.goBack();

  await panel(page).getByRole("button", { name: "Revoke" }).click();
  await dialog(page, "Revoke").getByText("stops working at once, everywhere, for good.").waitFor();
  await dialog(page).getByLabel("Reason").fill("Left the company");
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await panel(page).getByText("Active").waitFor();
  await panel(page).getByRole("button", { name: "Revoke" }).click();
  await dialog(page).getByLabel("Reason").fill("Left the company");
  await dialog(page).getByRole("button", { name: "Revoke the key" }).click();
  await panel(page).getByText("Revoked", { exact: true }).waitFor();
  await panel(page).locator(".quote").getByText("Left the company").waitFor();
  await panel(page).getByText("revoked it: “Left the company”").waitFor();
  assert.equal(await panel(page).getByRole("button", { name: /Revoke|Rotate|Edit/ }).count(), 0);
  await panel(page).getByText("A request for product-search would be refused now: it is revoked.").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("editing sends what was changed, and nothing else", async (t) => {
  const fields = { name: " Two  spaces ", description: "one\r\ntwo\nthree ", allowed_origins: ["https://a.example", "https://b.example"] };
  server.load({ api_keys: [keyDocument("lines", { ...fields, key_type: "retriever", permissions: ["read"], scopes: only("ret_product_search") })] });
  const sent = [];
  const page = await visit({}, "#/keys/key_lines", await relay(t, ({ operationName, variables }) => { if (operationName === "UpdateKey") sent.push(variables.input); }));
  await page.getByRole("button", { name: "Edit" }).click();
  await dialog(page).getByLabel("Requests a minute").fill("60");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).waitFor({ state: "detached" });
  await page.getByText("60 requests a minute").waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  assert.equal(await dialog(page).getByLabel("Description").inputValue(), "one\ntwo\nthree ");
  await dialog(page).getByLabel("Name").fill("Lines");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await panel(page).getByRole("heading", { name: "Lines" }).waitFor();
  assert.deepEqual(sent, [{ id: "key_lines", rateLimitOverride: 60 }, { id: "key_lines", name: "Lines" }]);
  assert.equal((await ask('{ apiKey(id: "key_lines") { description } }')).apiKey.description, fields.description);
  assert.deepEqual(page.complaints, []);
});

test("many keys are revoked after a dry run", async () => {
  const made = [];
  for (let n = 1; n <= 12; n++) made.push((await create(`Many ${n}`)).apiKey.keyId);
  const page = await visit({}, "#/keys?search=Many");
  await range(page, "1–12 of 12");
  await page.getByLabel("Select this page").check();
  await page.getByText("12 selected").waitFor();
  await ask("mutation($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }", { id: made[0] }); // somebody else is faster
  await page.locator(".foot").getByRole("button", { name: "Revoke" }).click();
  await dialog(page).getByText("11 keys stop working at once, everywhere, for good.").waitFor();
  await dialog(page).getByText("Nothing happens to these:").waitFor();
  assert.equal((await ask("query($ids: [ID!]!) { nodes(ids: $ids) { ... on ApiKey { status } } }", { ids: made })).nodes.filter(({ status }) => status === "ACTIVE").length, 11);
  await dialog(page).getByRole("button", { name: "Revoke 11 keys" }).click();
  await dialog(page).getByText("Type 12.").waitFor();
  await dialog(page).getByLabel("Type 12 to confirm").fill("12");
  await dialog(page).getByRole("button", { name: "Revoke 11 keys" }).click();
  await page.getByText("No key matches.").waitFor();
  await page.getByRole("button", { name: "Revoked", exact: true }).click();
  await range(page, "1–12 of 12");
  assert.equal(await page.locator(".foot").getByRole("button", { name: "Revoke" }).count(), 0);
  assert.deepEqual(page.complaints, []);
});

test("no more keys are selected than can be revoked at once", async (t) => {
  const page = await visit({}, "", await relay(t, altered("Keys", ({ node }) => {
    const keys = node.some ?? node.apiKeys;
    keys.results = Array.from({ length: 501 }, (_, n) => ({ ...keys.results[0], keyId: `key_${n}`, viewerCanRevoke: true, status: "ACTIVE" }));
    return { node };
  })));
  await page.getByLabel("Select this page").click();
  await page.getByText("500 selected. At most 500 keys can be revoked at once.").waitFor();
  await row(page).first().getByRole("checkbox").uncheck();
  await page.getByText("499 selected", { exact: true }).waitFor();
});

test("the keyboard alone suffices", async () => {
  const page = await openPage({ permissions: ["clipboard-read", "clipboard-write"] });
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  await page.goto(`${server.url}/`);
  await page.getByLabel("API key of your organization").waitFor();
  await page.keyboard.type(server.key);
  await press("Enter");
  await row(page).first().waitFor();
  await page.keyboard.type("Android");
  await page.waitForFunction(() => document.querySelector(".keys[aria-busy=false] tbody a")?.textContent.startsWith("Android"));
  const [, second] = await names(page);
  // tabTo presses Tab, or another key, until the control has the focus. Behind the last control, Firefox goes on in its own window.
  const tabTo = async (control, key = "Tab") => {
    for (let n = 0; n < 80 && !await control.evaluate((element) => element === document.activeElement); n++) await press(key);
    assert.ok(await control.evaluate((element) => element === document.activeElement), `Tab does not lead to ${control}`);
  };
  await tabTo(row(page).first().getByRole("checkbox"));
  await press("Space");
  await page.getByText("1 selected").waitFor();
  await press("Space");
  await page.getByText("1 selected").waitFor({ state: "detached" });
  await tabTo(row(page).nth(1).getByRole("link"));
  await press("Enter");
  await panel(page).getByRole("heading", { name: second }).waitFor();
  await page.waitForFunction(() => document.activeElement.matches(".panel"));
  await press("Escape");
  await panel(page).waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), second, "the focus did not return to the row");
  await tabTo(page.getByRole("button", { name: "New key" }), "Shift+Tab");
  await press("Enter");
  await dialog(page, "New key").waitFor();
  await press("Tab");
  await page.keyboard.type("By keyboard");
  await press("Enter");
  await dialog(page, "Your new key").waitFor();
  await press("Enter");
  await page.getByText("Copied", { exact: true }).waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^ret_sk_\w{53}$/);
  await tabTo(dialog(page).getByRole("button", { name: "I have stored it" }));
  await press("Enter");
  await dialog(page).waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "New key", "the focus did not return to the button");
  assert.deepEqual(page.complaints, []);
});

test("what a key may not do is not offered, and what it may not see is explained", async () => {
  const page = await openPage();
  await enter(page, plaintexts.reader);
  await row(page).first().waitFor();
  assert.equal(await page.getByRole("button", { name: /New key|Revoke …/ }).count(), 0);
  const { namespace } = await ask("{ namespace { apiKeys { total } } }");
  await range(page, `1–25 of ${namespace.apiKeys.total}`); // the first namespace's
  await row(page).nth(2).click();
  await panel(page).getByText("SHA-256").waitFor();
  assert.equal(await panel(page).getByRole("button", { name: /Revoke|Rotate|Edit/ }).count(), 0);
  await page.getByRole("link", { name: "Trail" }).click();
  await page.getByText("Your key may not read the trail").waitFor();

  await enter(page, plaintexts.staging);
  await row(page).first().waitFor();
  assert.equal(await page.locator("#place").inputValue(), "ns_fjord_staging");
  await page.getByRole("button", { name: "New key" }).click();
  assert.deepEqual(await dialog(page).getByLabel("Retriever").locator("option").allTextContents(), ["\u2068catalog-preview\u2069 in \u2068staging\u2069", "\u2068product-search\u2069 in \u2068staging\u2069"]);
  await page.keyboard.press("Escape");

  await enter(page, plaintexts.executor);
  await page.getByRole("alert").getByText("A retriever's key can only execute it").waitFor();
  assert.deepEqual(page.complaints, []);
  await enter(page, "sk_wrong_but_well_formed");
  await page.getByRole("alert").getByText("This key is unknown, revoked or expired.").waitFor();
  await enter(page, "not a key!");
  await page.getByRole("alert").getByText("This is not an API key").waitFor();
  assert.ok(page.complaints.every((complaint) => complaint.includes("401")), `${page.complaints}`);
});

test("a key that is revoked under the page ends it, and another goes on", async () => {
  server.load({ api_keys: [keyDocument("ending")] });
  const page = await openPage();
  await page.goto(`${server.url}/#/keys?order=name`);
  await enter(page, plaintexts.ending);
  await row(page).first().waitFor();
  await ask('mutation { revokeApiKeys(input: { ids: ["key_ending"] }) { results { outcome } } }');
  await page.getByRole("button", { name: "Next page" }).click();
  await page.getByRole("alert").getByText("Your key has stopped working").waitFor();
  assert.equal(await row(page).count(), 0);
  await page.getByLabel("API key of your organization").fill(server.key);
  await page.keyboard.press("Enter");
  await page.getByText("26–50 of").waitFor();
  assert.ok(page.complaints.every((complaint) => complaint.includes("401")), `${page.complaints}`);
});

test("the trail goes on without streams", async (t) => {
  let refuse;
  const refused = new Promise((resolve) => { refuse = resolve; });
  const page = await visit({}, "", await relay(t, ({ operationName }, to) => operationName === "Live" && (refuse(), to.destroy())));
  await page.clock.install();
  await page.getByRole("link", { name: "Trail" }).click();
  await page.locator(".sentences").waitFor();
  await refused;
  await create("Without a stream");
  await page.clock.fastForward("00:05");
  await page.getByText("created Without a stream").waitFor();
});

test("a list that fails says why, and can be tried again", async (t) => {
  let fails = true;
  const failing = await relay(t, ({ operationName }, to) => operationName === "Keys" && fails
    && to.writeHead(200, { "Content-Type": "application/json", "X-Request-Id": "REQUEST" })
      .end(JSON.stringify({ errors: [{ message: "Order by creation instead.", extensions: { code: "BAD_USER_INPUT", field: "orderBy" } }] })));
  const page = await openPage();
  await page.goto(failing.console);
  await page.getByRole("alert").getByText("Order by creation instead.").waitFor();
  await page.getByText("REQUEST").waitFor();
  fails = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await row(page).first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 0);
  assert.deepEqual(page.complaints, []);
});

test("a server that restarts under the page is noticed, and the page goes on", async (t) => {
  let own = await start();
  t.after(() => own.stop());
  const page = await visit({}, "", own);
  await page.getByRole("button", { name: "New key" }).click();
  await dialog(page, "New key").getByLabel("Name").fill("Typed before the outage");
  await own.stop();
  await dialog(page).getByRole("button", { name: "Create the key" }).click();
  await dialog(page).getByText("There was no answer. The key may exist").waitFor();
  assert.equal(await dialog(page).getByLabel("Name").inputValue(), "Typed before the outage");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Revoked", exact: true }).click();
  await page.getByRole("alert").getByText("No connection to the server. Trying again in").waitFor();
  assert.ok(await row(page).count() > 0, "the list is gone");
  own = await start(own.settings);
  await page.getByRole("button", { name: "Try now" }).click();
  await page.locator(".state.revoked").first().waitFor();
  await page.getByRole("alert").waitFor({ state: "hidden" });
  assert.ok(page.complaints.every((complaint) => complaint.includes("ERR_CONNECTION_REFUSED") || complaint.includes("ERR_CONNECTION_RESET") || complaint.includes("ERR_EMPTY_RESPONSE")), `${page.complaints}`);
});

test("an overloaded server that names a time is not asked without a pause", async () => {
  const page = await visit();
  let asked = 0;
  await page.route("**/graphql", (route) => {
    asked++;
    return route.fulfill({ status: 503, headers: { "Retry-After": new Date(Date.now() + 60_000).toUTCString() }, contentType: "text/html", body: "<h1>busy</h1>" });
  });
  await page.getByRole("link", { name: "Report" }).click();
  await page.getByRole("alert").getByText("Trying again in 2 s.").waitFor();
  assert.equal(asked, 2);
});

test("a slow network shows rows that wait, and nothing jumps", async () => {
  const page = await visit();
  let answered, answer;
  const wait = () => { answered = new Promise((resolve) => { answer = resolve; }); };
  await page.route("**/graphql", async (route) => {
    await answered;
    await route.continue();
  });
  const places = () => page.evaluate(() => [".filters", ".keys thead", ".foot", ".turn"].map((selector) => JSON.stringify(document.querySelector(selector).getBoundingClientRect())));
  const before = await places();
  wait();
  await page.getByRole("button", { name: "Next page" }).click();
  await page.locator(".keys[aria-busy=true] tbody a").first().waitFor();
  assert.deepEqual(await places(), before);
  answer();
  await page.getByText("26–50 of").waitFor();
  assert.deepEqual(await places(), before);
  wait();
  await page.getByLabel("Namespace or retriever").selectOption({ label: "\u2068product-search\u2069" });
  await page.locator(".skeleton").first().waitFor();
  assert.deepEqual(await places(), before);
  answer();
  await row(page).first().waitFor();
  assert.deepEqual(await places(), before);
  assert.deepEqual(page.complaints, []);
});

test("the README's picture can be made and shows no key", async () => {
  const page = await consolePicture(server);
  assert.doesNotMatch(await page.locator("body").innerText(), /sk_\w{20}/);
  assert.deepEqual(page.complaints, []);
});

test("a chart of use has its numbers as a table", async () => {
  const { organization } = await ask("{ organization { apiKeys(first: 1, filter: { search: \"Kiosk\" }) { results { keyId usage { allowed refused days { date allowed refused } } } } } }");
  const [{ keyId, usage }] = organization.apiKeys.results;
  assert.ok(usage.allowed > 0, "the demo has no usage");
  const page = await visit({}, `#/keys/${keyId}`);
  const most = Math.max(...usage.days.map(({ allowed, refused }) => allowed + refused)).toLocaleString("en");
  await panel(page).getByText(`allowed ${usage.allowed.toLocaleString("en")} times, refused ${usage.refused.toLocaleString("en")} times; at most ${most} a day.`).waitFor();
  await panel(page).getByText("As a table").click();
  const cells = await panel(page).locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent.replaceAll(",", ""))));
  assert.deepEqual(cells, usage.days.toReversed().map(({ date, allowed, refused }) => [date, String(allowed), String(refused)]));
  assert.equal(await panel(page).locator(".chart .allowed").count(), 30);
  await page.locator("header").getByRole("link", { name: "ingrid" }).click();
  await panel(page).getByText("allowed 0 times, refused 0 times; at most 0 a day.").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("what needs attention is a filter, and the report counts it", async () => {
  const { organization } = await ask(`{ organization { apiKeyReport { active expired neverExpires expiresSoon leaked }
    apiKeys(first: 100, includeRevoked: true, filter: { finding: [LEAKED] }) { results { keyId name } } } }`);
  const { apiKeyReport: report, apiKeys: { results: [leaked] } } = organization;
  const page = await visit();
  await page.getByRole("button", { name: `${report.expiresSoon} expiring soon` }).click();
  await range(page, `1–${report.expiresSoon} of ${report.expiresSoon}`);
  assert.equal(params(page).finding, "EXPIRES_SOON");
  await page.locator(".chip", { hasText: "Expiring soon" }).waitFor();
  await row(page).first().click();
  await panel(page).getByText("Rotate it, or give it a later end.").waitFor();
  await page.getByRole("button", { name: `${report.expiresSoon} expiring soon`, pressed: true }).click();
  await page.waitForURL((url) => !url.hash.includes("finding"));

  await page.getByRole("button", { name: `${report.leaked} leaked` }).click();
  await row(page, leaked.name).getByText("Leaked").waitFor();
  await page.getByLabel("Namespace or retriever").selectOption("ns_fjord_staging");
  await page.getByText("In the whole organization").waitFor();
  await page.getByRole("button", { name: `${report.leaked} leaked`, pressed: false }).click();
  assert.deepEqual(params(page), { finding: "LEAKED", status: "all" });
  await row(page, leaked.name).click();
  await panel(page).getByText("Others can read its plaintext. Reported").waitFor();

  await page.getByRole("link", { name: "Report" }).click();
  await page.getByRole("row", { name: "Active" }).getByRole("cell", { name: String(report.active), exact: true }).waitFor();
  await check(page, "the report");
  await page.getByRole("link", { name: "Without an end" }).click();
  await page.getByText(`of ${report.neverExpires}`).waitFor();
  await page.getByRole("link", { name: "Report" }).click();
  await page.getByRole("link", { name: "Expired" }).click();
  await page.getByText(`of ${report.expired}`).waitFor();

  await enter(page, plaintexts.staging);
  await row(page).first().waitFor();
  assert.equal(await page.locator(".attention *").count(), 0);
  await page.getByRole("link", { name: "Report" }).click();
  await page.getByText("The report is about all keys of the organization.").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("lifetimes that the policy does not allow are not offered", async (t) => {
  const strict = await start({ KEY_DEFAULT_LIFETIME: "30d", KEY_MAX_LIFETIME: "90d" });
  t.after(() => strict.stop());
  const page = await visit({}, "", strict);
  await page.getByRole("button", { name: "New key" }).click();
  await dialog(page).getByText("At most 90 days from now.").waitFor();
  assert.deepEqual(await dialog(page).getByLabel("Expires").locator("option").allTextContents(), ["After 30 days, the default", "In 7 days", "In 30 days", "In 90 days", "On a date"]);
  await dialog(page).getByLabel("Name").fill("By default");
  await page.keyboard.press("Enter");
  await dialog(page, "Your new key").getByRole("button", { name: "I have stored it" }).click();
  await row(page, "By default").getByText(/in 30 days|next mo/).waitFor();
  for (const [name, first] of [["By default", /^As it is: /], ["Storefront", /^After 30 days, the default$/]]) {
    await row(page, name).click();
    await panel(page).getByRole("heading", { name }).waitFor();
    await panel(page).getByRole("button", { name: "Rotate" }).click();
    await dialog(page).getByText("At most 90 days from now.").waitFor();
    const [usual, ...others] = await dialog(page).getByLabel("Expires").locator("option").allTextContents();
    assert.match(usual, first);
    assert.deepEqual(others, ["In 7 days", "In 30 days", "In 90 days", "On a date"]);
    await dialog(page).getByRole("button", { name: "Rotate the key" }).click();
    await dialog(page, "The new key").getByRole("button", { name: "I have stored it" }).click();
    await panel(page).getByText("Replaces").waitFor();
    await panel(page).locator("dd").getByText(/in 30 days|next mo/).waitFor();
  }
  assert.deepEqual(page.complaints, []);
});

test("where keys live a few days, a day can be chosen, and a rotated key ends with the maximum", async (t) => {
  const strict = await start({ KEY_MAX_LIFETIME: "5d" });
  t.after(() => strict.stop());
  strict.load({ api_keys: [keyDocument("long", { key_type: "retriever", permissions: ["read"], scopes: only("ret_product_search"), expires_at: { $date: "2100-01-01T00:00:00Z" } })] });
  const page = await visit({}, "", strict);
  await page.getByRole("button", { name: "New key" }).click();
  await dialog(page).getByLabel("Name").fill("On a date");
  await dialog(page).getByLabel("Last day").fill(new Date(Date.now() + 3 * 86_400_000).toISOString().slice(0, 10));
  await dialog(page).getByRole("button", { name: "Create the key" }).click();
  await dialog(page, "Your new key").getByRole("button", { name: "I have stored it" }).click();
  await row(page, "On a date").getByText(/^in [234] days$/).waitFor();
  await page.evaluate(() => { location.hash = "#/keys/key_long"; });
  await panel(page).getByRole("button", { name: "Rotate" }).click();
  assert.deepEqual(await dialog(page).getByLabel("Expires").locator("option").allTextContents(), ["After 5 days, the most", "On a date"]);
  await dialog(page).getByRole("button", { name: "Rotate the key" }).click();
  await dialog(page, "The new key").getByRole("button", { name: "I have stored it" }).click();
  await panel(page).getByText("Replaces").waitFor();
  await panel(page).locator("dd", { hasText: "in 5 days" }).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("stored names are text", async () => {
  const page = await visit({}, "#/keys?order=created");
  await page.locator("[aria-sort=ascending]", { hasText: "Made" }).waitFor();
  await page.waitForFunction(() => document.querySelector("[aria-busy=false] tbody a")?.textContent.length > 5);
  const shown = await names(page);
  for (const [i, name] of hostile.entries()) {
    assert.ok(shown.includes(name), `${name} is not shown`);
    await page.evaluate((id) => { location.hash = `#/keys/${id}`; }, `key_hostile${i}`);
    await page.waitForFunction((name) => document.querySelector(".panel h2")?.textContent === name, name);
    assert.ok(await fits(page), `${name} makes the page larger`);
  }
  await page.evaluate(() => { location.hash = "#/keys?by=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&search=%3Cb%3E&status=all"; });
  await page.locator(".chip", { hasText: "<img src=x" }).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("the trail shows past events, and new ones as they happen", async () => {
  const page = await visit();
  const streamed = page.waitForResponse((response) => response.headers()["content-type"].startsWith("text/event-stream"));
  await page.getByRole("link", { name: "Trail" }).click();
  await page.getByText("created admin-key").waitFor();
  await streamed;
  const { apiKey } = await create("Seen live");
  await page.getByText("created Seen live").waitFor();
  await page.getByRole("link", { name: "Seen live" }).focus();
  await ask('mutation($id: ID!) { revokeApiKey(input: { id: $id, reason: "No longer used" }) { apiKey { id } } }', { id: apiKey.keyId });
  await page.getByRole("button", { name: "1 new" }).click();
  await page.getByText("revoked Seen live: “No longer used”").waitFor();
  await fetch(server.graphql, { method: "POST", headers: { authorization: `Bearer ${plaintexts.reader}`, "content-type": "application/json" }, body: JSON.stringify({ query: `mutation { revokeApiKey(input: { id: "${apiKey.keyId}" }) { apiKey { id } } }` }) });
  await page.getByLabel("Result").selectOption("Not permitted");
  await page.getByText("nina was not permitted to revoke Seen live").waitFor();
  assert.equal(await page.locator(".sentences li:not(.day):not(.denied)").count(), 0);
  await page.getByRole("link", { name: "Seen live" }).click();
  await panel(page).getByRole("heading", { name: "Seen live" }).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("older events do not arrive under another filter", async (t) => {
  let older, filtered;
  const askedOlder = new Promise((resolve) => { older = resolve; });
  const askedFiltered = new Promise((resolve) => { filtered = resolve; });
  const first = altered("Trail", ({ node }) => {
    node.auditEvents.pageInfo.hasNextPage = true;
    return { node };
  });
  const page = await visit({}, "#/trail", await relay(t, (operation, to) => {
    const { after, filter } = operation.variables ?? {};
    if (after) older(to);
    else if (filter?.status) to.once("close", filtered);
    return Boolean(after) || first(operation, to);
  }));
  const more = page.getByRole("button", { name: "Older events" });
  await more.click();
  const answer = await askedOlder;
  await page.getByLabel("Result").selectOption("Done");
  await askedFiltered;
  await more.waitFor();
  if (!answer.destroyed) {
    answer.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ data: { node: { auditEvents: { results: [], pageInfo: { hasNextPage: false } } } } }));
    await once(answer, "close");
  }
  await page.evaluate(() => new Promise(requestAnimationFrame));
  assert.ok(await more.isVisible());
  assert.ok(await more.isEnabled());
});

test("what was not permitted is said with the right verb", async (t) => {
  const verbs = {
    api_key_created: ["created", "create"], api_key_updated: ["changed", "change"], api_key_rotated: ["rotated", "rotate"], api_key_revoked: ["revoked", "revoke"],
    api_key_leak_reported: ["reported a leak of", "report a leak of"], api_key_expiring: ["announced the end of", "announce the end of"],
    role_updated: ["recorded “role updated” for", "record “role updated” for"],
  };
  const page = await visit({}, "", await relay(t, altered("Trail", ({ node }) => {
    const [event] = node.auditEvents.results;
    const made = (action, status) => ({ ...event, id: `${action} ${status}`, action, status, actorType: "user", actorId: "usr_nina", resourceId: "key_x", changes: [] });
    node.auditEvents.results = Object.keys(verbs).flatMap((action) => [made(action, "success"), made(action, "denied")]);
    return { node };
  })));
  await page.getByRole("link", { name: "Trail" }).click();
  await page.locator(".sentences").waitFor();
  const said = await page.locator(".sentences p:first-child").allTextContents();
  assert.deepEqual(said, Object.values(verbs).flatMap(([did, does]) => [`nina ${did} key_x`, `nina was not permitted to ${does} key_x`]));
});

test("each view is shown as the GraphQL that it asked", async () => {
  const page = await visit();
  await page.getByRole("button", { name: "GraphQL" }).click();
  const shown = dialog(page, "This view as GraphQL");
  await shown.getByRole("combobox").selectOption("Keys");
  const [query, variables, command] = await shown.locator("code").allTextContents();
  const { node } = await ask(query, JSON.parse(variables));
  assert.deepEqual(await names(page), node.some.results.map(({ name }) => name));
  await shown.getByText("As a command").click();
  assert.ok(command.includes("$RETRIEVERKEYS_KEY") && !/sk_/.test(command), command);
  const output = execFileSync("sh", ["-c", command], { env: { PATH: process.env.PATH, RETRIEVERKEYS_KEY: server.key }, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  assert.deepEqual(JSON.parse(output).data, { node });
  await page.keyboard.press("Escape");
  assert.deepEqual(page.complaints, []);
});

test("everything works with persisted operations only", async (t) => {
  const manifest = join(tmpdir(), `manifest-${process.pid}.json`);
  writeFileSync(manifest, JSON.stringify({ format: "apollo-persisted-query-manifest", version: 1, operations: [{ id: "a", name: "A", type: "query", body: "query A { serverInfo { version } }" }] }));
  const closed = await start({ PERSISTED_OPERATIONS: manifest, PERSISTED_ONLY: "true" });
  t.after(() => closed.stop());
  const page = await visit({}, "", closed);
  await row(page).nth(2).click();
  await panel(page).getByText("SHA-256").waitFor();
  await panel(page).getByRole("button", { name: "Rotate" }).click();
  await dialog(page).getByRole("button", { name: "Rotate the key" }).click();
  await dialog(page).getByRole("button", { name: "I have stored it" }).click();
  await page.getByLabel("Namespace or retriever").selectOption("ns_fjord_staging");
  const { namespace } = await ask('{ namespace(id: "staging") { apiKeys { total } retriever(id: "ret_catalog_preview") { apiKeys { total } } } }');
  await range(page, `1–${namespace.apiKeys.total} of ${namespace.apiKeys.total}`);
  await page.getByLabel("Namespace or retriever").selectOption("ret_catalog_preview");
  await range(page, `1–${namespace.retriever.apiKeys.total} of ${namespace.retriever.apiKeys.total}`);
  await page.getByRole("link", { name: "Trail" }).click();
  await page.getByText("Nothing is recorded here.").waitFor();
  assert.deepEqual(page.complaints, []);
});

test("the console works below a path prefix", async (t) => {
  const page = await visit({}, "", await relay(t, () => false, { prefix: "/keys" }));
  await row(page).nth(2).click();
  await panel(page).getByText("SHA-256").waitFor();
  assert.match(page.url(), /\/keys\/#\/keys\/key_/);
  assert.deepEqual(page.complaints, []);
});

test("ten thousand keys page without a pause", async (t) => {
  const big = await start();
  t.after(() => big.stop());
  const created = (n) => ({ $date: new Date(Date.UTC(2024, 0, 1) + n * 60_000).toISOString() });
  big.load({ api_keys: Array.from({ length: 10_000 }, (_, n) => keyDocument(`big${n}`, { name: `Key ${n}`, key_type: "retriever", permissions: ["read"], scopes: only("ret_product_search"), created_at: created(n) })) });
  const sent = [];
  const page = await visit({}, "", await relay(t, ({ operationName, variables }) => { if (operationName === "Keys") sent.push(variables); }, { behind: big }));
  const { total } = (await ask("{ organization { apiKeys { total } } }", {}, big)).organization.apiKeys;
  await range(page, `1–25 of ${total.toLocaleString("en")}`);
  sent.length = 0;
  await page.evaluate(() => {
    globalThis.pauses = [];
    new PerformanceObserver((list) => pauses.push(...list.getEntries().map(({ duration }) => Math.round(duration)))).observe({ type: "longtask" });
  });
  for (let at = 26; at < 226; at += 25) {
    await page.getByRole("button", { name: "Next page" }).click();
    await range(page, `${at}–${at + 24} of ${total.toLocaleString("en")}`);
  }
  await page.getByRole("button", { name: "Last page" }).click();
  await range(page, `${(total - 24).toLocaleString("en")}–${total.toLocaleString("en")} of ${total.toLocaleString("en")}`);
  await page.getByRole("columnheader", { name: "Key" }).getByRole("button").click();
  await page.waitForFunction(() => document.querySelector("[aria-sort=ascending]")?.textContent === "Key" && document.querySelector("[aria-busy=false]"));
  assert.equal(sent.length, 10, "a page is not one read");
  assert.ok(sent.every(({ first, last }) => (first ?? last) === 25), JSON.stringify(sent));
  assert.equal(await row(page).count(), 25);
  t.diagnostic(`long tasks in ms: ${await page.evaluate(() => pauses)}`);
  assert.deepEqual(page.complaints, []);
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing to complain about, ${colorScheme}`, async () => {
    const { apiKey } = await create(`Looked at in ${colorScheme}`);
    const page = await openPage({ colorScheme });
    await page.goto(`${server.url}/`);
    await page.getByLabel("API key of your organization").waitFor();
    await check(page, "the door");
    await enter(page, server.key);
    await row(page).first().waitFor();
    await check(page, "the list");
    await page.getByLabel("Select this page").check();
    await row(page, apiKey.name).click();
    await panel(page).getByText("As a table").waitFor();
    await check(page, "a key");
    for (const name of ["Edit", "Rotate", "Revoke"]) {
      await panel(page).getByRole("button", { name }).click();
      await check(page, name);
      await page.keyboard.press("Escape");
    }
    for (const name of ["New key", "GraphQL"]) {
      await page.getByRole("button", { name }).click();
      await dialog(page).waitFor();
      await check(page, name);
      await page.keyboard.press("Escape");
    }
    await page.evaluate(() => { location.hash = "#/keys?status=all&search=zzz&type=STANDARD"; });
    await page.getByText("No key matches.").waitFor();
    await check(page, "an empty list");
    await page.getByRole("link", { name: "Trail" }).click();
    await page.locator(".sentences").first().waitFor();
    await check(page, "the trail");
    assert.deepEqual(page.complaints, []);
  });
}

test("every width from 320 to 2,560 px has room", async () => {
  const { apiKey } = await create("A key to look at");
  await ask("mutation($id: ID!) { rotateApiKey(input: { id: $id }) { apiKey { id } } }", { id: (await create("A key with a successor")).apiKey.keyId });
  const page = await visit({ viewport: { width: 320, height: 640 }, hasTouch: true });
  const look = async (what) => assert.ok(await fits(page), `${what} does not fit into ${page.viewportSize().width} px`);
  for (const width of [320, 600, 900, 1200, 1440, 2560]) {
    await page.setViewportSize({ width, height: 800 });
    await page.evaluate(() => { location.hash = "#/keys"; });
    await row(page).nth(2).waitFor();
    await look("the list");
    await row(page, apiKey.name).getByRole("link").click();
    await panel(page).getByText("As a table").waitFor();
    await look("a key");
    await panel(page).getByRole("button", { name: "Edit" }).click();
    await dialog(page).getByRole("button", { name: "Save" }).scrollIntoViewIfNeeded();
    await look("a dialog");
    await dialog(page).getByRole("button", { name: "Cancel" }).click();
    await page.evaluate(() => { location.hash = "#/trail"; });
    await page.locator(".sentences").first().waitFor();
    await look("the trail");
  }
  await page.setViewportSize({ width: 320, height: 640 });
  await page.evaluate(() => { location.hash = "#/keys"; });
  await row(page, "A key with a successor").click();
  await panel(page).getByText("Replaces").waitFor();
  await look("a key with a successor");
  await page.locator("header").getByRole("link", { name: "ingrid" }).click();
  await panel(page).getByRole("heading", { name: "admin-key" }).waitFor();
  await look("the key of the person");
  await page.evaluate(() => { location.hash = "#/keys"; });
  await row(page).nth(2).waitFor();
  await check(page, "the narrow list");
  assert.deepEqual(page.complaints, []);
});
