// Opens pages in a Chromium that reaches this machine and nothing else.
import { after } from "node:test";
import { chromium } from "playwright-core";

let launched;

// openPage resolves with a page of a fresh profile; options are playwright's for a context. What the page complains about
// as an error, violations of its policy included, and every request that it makes elsewhere is kept in page.complaints.
export async function openPage(options = {}) {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    chromiumSandbox: process.getuid?.() !== 0, // root cannot have one
    args: ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
  const context = await (await launched).newContext(options);
  const complaints = [];
  await context.route("**", (route) => {
    const { hostname, protocol } = new URL(route.request().url());
    if (hostname === "127.0.0.1" || protocol === "data:") return route.continue();
    complaints.push(`a request to ${route.request().url()}`);
    return route.abort();
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  return Object.assign(page, { complaints });
}

after(async () => (await launched)?.close());
