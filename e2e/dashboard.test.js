// Tests the example dashboard in a browser, built as its README says, with the real binary.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { openPage } from "./browser.js";
import { start } from "./server.js";

const folder = join(import.meta.dirname, "../examples/dashboard");
const total = 67;

let server, preview, url;

before(async () => {
  const npm = (...args) => execFileSync("npm", ["--prefix", folder, ...args], { stdio: ["ignore", "ignore", "inherit"] });
  if (!existsSync(join(folder, "node_modules"))) npm("ci", "--loglevel=error");
  npm("run", "build");
  server = await start();
  const retriever = await ask("{ retriever(id: \"product-search\") { apiKeys(includeRevoked: true) { total } } }");
  for (let n = retriever.data.retriever.apiKeys.total + 1; n <= total; n++) {
    const { errors } = await ask(`mutation { createApiKey(input: { retrieverId: "product-search", name: "Seed ${n}" }) { apiKey { id } } }`);
    assert.equal(errors, undefined);
  }

  preview = spawn(process.execPath, [join(folder, "node_modules/vite/bin/vite.js"), "preview"], {
    cwd: folder, env: { ...process.env, API: server.url, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "inherit"],
  });
  url = await new Promise((resolve, reject) => {
    preview.once("exit", (code) => reject(new Error(`vite preview ended with ${code}`)));
    createInterface(preview.stdout).on("line", (line) => {
      const [address] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? [];
      if (address) resolve(address);
    });
  });
});
after(() => preview?.kill());
after(() => server?.stop());

async function ask(query) {
  const response = await fetch(server.graphql, {
    method: "POST", headers: { ...server.headers, "content-type": "application/json" }, body: JSON.stringify({ query }),
  });
  return response.json();
}

async function connect(page, key = server.key) {
  await page.goto(url);
  await page.getByLabel("API key").fill(key);
  await page.getByLabel("Namespace").fill(server.namespace);
  await page.getByRole("button", { name: "Connect" }).click();
}

const search = (page) => page.getByRole("searchbox", { name: "Search" });
const rows = (page) => page.locator("tbody tr");
const row = (page, name) => rows(page).filter({ has: page.getByRole("rowheader", { name }) });
const summary = (page, text) => page.getByRole("status").getByText(text, { exact: true }).waitFor();
const range = (page) => page.getByRole("navigation").getByRole("status").textContent();
const names = (page) => rows(page).locator("th").evaluateAll((cells) => cells.map((cell) => cell.firstChild.textContent));

test("a wrong key is rejected in a person's words", async () => {
  const page = await openPage();
  await connect(page, "wrong");
  await page.getByRole("alert").getByText("This API key is unknown, revoked or expired.", { exact: true }).waitFor();
  assert.ok(await page.getByLabel("API key").isVisible());
  assert.ok(page.complaints.every((complaint) => complaint.includes("401")), `${page.complaints}`);
});

test("the list pages forward and back through all keys", async () => {
  const page = await openPage();
  await connect(page);
  await summary(page, `1–25 of ${total}`);
  const next = page.getByRole("button", { name: "Next" });
  const previous = page.getByRole("button", { name: "Previous" });
  const pages = [await names(page)];
  const ranges = [await range(page)];
  const layout = () => page.locator("thead th, nav button").evaluateAll((elements) => elements.map((element) => {
    const { left, top, width } = element.getBoundingClientRect();
    return [left, top, width];
  }));
  const places = await layout();
  assert.ok(await previous.isDisabled());
  while (await next.isEnabled()) {
    const [first] = pages.at(-1);
    await next.click();
    await page.waitForFunction((first) => {
      const shown = document.querySelector("table[aria-busy=false] tbody th")?.firstChild.textContent;
      return shown && shown !== first;
    }, first);
    pages.push(await names(page));
    ranges.push(await range(page));
    assert.deepEqual(await layout(), places, "columns or buttons moved");
  }
  assert.deepEqual(ranges, [`1–25 of ${total}`, `26–50 of ${total}`, `51–${total} of ${total}`]);
  assert.deepEqual(pages.map((page) => page.length), [25, 25, total - 50]);
  assert.equal(new Set(pages.flat()).size, total, "a key is missing or listed twice");
  const { data } = await ask("{ retriever(id: \"product-search\") { apiKeys(includeRevoked: true) { results { name } } } }");
  assert.deepEqual(pages.flat(), data.retriever.apiKeys.results.map(({ name }) => name));

  await previous.click();
  await page.waitForFunction((first) => document.querySelector("table[aria-busy=false] tbody th")?.firstChild.textContent === first, pages[1][0]);
  assert.deepEqual(await names(page), pages[1]);
  assert.equal(await range(page), ranges[1]);
  assert.deepEqual(page.complaints, []);
});

test("search and status narrow the list", async () => {
  const page = await openPage();
  await connect(page);
  await summary(page, `1–25 of ${total}`);
  await search(page).fill("seed");
  await summary(page, `1–25 of ${total - 34}`);
  await page.getByRole("button", { name: "Next" }).click();
  await search(page).fill("partner");
  await page.getByRole("combobox", { name: "Status" }).selectOption("Revoked");
  const { data } = await ask(`{ retriever(id: "product-search") {
    apiKeys(includeRevoked: true, filter: { status: [REVOKED], search: "partner" }) { results { name } }
  } }`);
  const wanted = data.retriever.apiKeys.results.map(({ name }) => name);
  assert.ok(wanted.length > 0);
  await summary(page, `1–${wanted.length} of ${wanted.length}`);
  assert.deepEqual(await names(page), wanted);
  assert.equal(await rows(page).getByText("Revoked", { exact: true }).count(), wanted.length);

  await search(page).fill("there is no such key");
  await page.getByText("No key matches.").waitFor();

  await search(page).fill("");
  await page.getByRole("combobox", { name: "Status" }).selectOption("All");
  await page.getByRole("combobox", { name: "Retriever" }).selectOption("video-moments");
  await summary(page, "1–10 of 10");
  assert.deepEqual(page.complaints, []);
});

test("a key is created, its plaintext shown once, and revoked", async () => {
  const page = await openPage({ permissions: ["clipboard-read", "clipboard-write"] });
  await connect(page);
  await summary(page, `1–25 of ${total}`);
  const create = page.getByRole("button", { name: "Create key" });
  await create.click();
  await page.getByLabel("Name").fill("Made here");
  await page.getByLabel("Expires").fill("2001-01-01");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.getByRole("dialog").getByRole("alert").getByText("Must be in the future.", { exact: true }).waitFor();
  assert.equal(await page.getByRole("dialog").getByRole("alert").count(), 1, "the error is repeated");
  assert.equal(await page.getByLabel("Expires").getAttribute("aria-invalid"), "true");
  assert.equal(await page.getByLabel("Name").getAttribute("aria-invalid"), "false");
  await page.getByLabel("Expires").fill("");
  await page.keyboard.press("Enter");

  const dialog = page.getByRole("dialog", { name: "Your new key" });
  const key = await dialog.getByText(/^ret_sk_\w{53}$/).textContent();
  for (let presses = 0; presses < 3; presses++) { // a page can refuse the first one only
    await page.keyboard.press("Escape");
    await dialog.getByText("You have not copied the key.").waitFor();
    assert.equal(await dialog.getByText(key).count(), 1, "Escape discarded the key");
  }
  await dialog.getByRole("button", { name: "Copy" }).focus();
  await page.keyboard.press("Enter");
  await dialog.getByText("Copied.").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
  await dialog.getByRole("button", { name: "Done" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.ok(await create.evaluate((button) => button === document.activeElement), "the focus did not return to the button");
  assert.doesNotMatch(await page.content(), new RegExp(key));
  assert.doesNotMatch(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])), /sk_/);
  await summary(page, `1–25 of ${total + 1}`);

  await page.getByRole("button", { name: "Revoke Made here" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await row(page, "Made here").getByText("Active").waitFor();

  await page.getByRole("button", { name: "Revoke Made here" }).click();
  await page.getByRole("button", { name: "Revoke the key" }).click();
  await row(page, "Made here").getByText("Revoked").waitFor();
  assert.equal(await page.getByRole("button", { name: "Revoke Made here" }).count(), 0);
  const { data } = await ask("{ retriever(id: \"product-search\") { apiKeys(includeRevoked: true, first: 1) { results { name status } } } }");
  assert.deepEqual(data.retriever.apiKeys.results, [{ name: "Made here", status: "REVOKED" }]);

  await page.getByRole("combobox", { name: "Status" }).selectOption("Active");
  await row(page, "Made here").waitFor({ state: "detached" });
  assert.deepEqual(page.complaints, []);
});

test("a narrow window does not scroll horizontally", async () => {
  const page = await openPage({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
  await connect(page);
  await rows(page).first().waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual(page.complaints, []);
});
