// Opens pages in a Chromium that can connect to this machine only.
import { after } from "node:test";
import { chromium } from "playwright-core";

let launched;

// openPage resolves to a page with a new profile. The options are Playwright's for a context. page.complaints contains the page's errors,
// including violations of its content security policy, and its requests to other hosts.
export async function openPage(options = {}) {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    chromiumSandbox: process.getuid?.() !== 0, // the sandbox does not work for root
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
