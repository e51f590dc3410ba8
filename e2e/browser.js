// Opens pages in a browser that can connect to this machine only: Chromium, or Firefox with E2E_BROWSER=firefox.
import { existsSync } from "node:fs";
import { after, afterEach } from "node:test";
import { chromium, firefox } from "playwright-core";

// found returns the executable that an environment variable names, or else Debian's. Without it, every test that opens a page fails.
function found(browser, variable, path) {
  const executable = process.env[variable] ?? path;
  if (!existsSync(executable)) throw new Error(`These tests need ${browser}, and ${executable} does not exist. Install it, or set ${variable} to its path.`);
  return executable;
}

const browsers = {
  chromium: () => chromium.launch({
    executablePath: found("Chromium", "CHROMIUM", "/usr/bin/chromium"),
    chromiumSandbox: process.getuid?.() !== 0, // the sandbox does not work for root
    args: ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  }),
  // Playwright drives an unmodified Firefox by WebDriver BiDi, through which it can neither choose a context's color scheme nor read the
  // bodies of requests. It reports violations of the content security policy as errors of the page.
  firefox: (colorScheme) => firefox.launch({
    channel: "moz-firefox",
    executablePath: found("Firefox", "FIREFOX", "/usr/bin/firefox-esr"),
    firefoxUserPrefs: {
      "layout.css.prefers-color-scheme.content-override": colorScheme === "dark" ? 0 : 1,
      // Firefox sends its own requests, of settings and updates, to a proxy that does not exist. It needs none for loopback addresses.
      "network.proxy.type": 1, "network.proxy.socks": "127.0.0.1", "network.proxy.socks_port": 9, "network.proxy.failover_direct": false,
    },
  }),
};

const launched = {}; // by color scheme

// openPage resolves to a page with a new profile. The options are Playwright's for a context. page.complaints contains the page's errors,
// including violations of its content security policy, and its requests to other hosts. The page is closed after the test.
export async function openPage(options = {}) {
  const name = process.env.E2E_BROWSER ?? "chromium";
  const colorScheme = name === "firefox" && options.colorScheme === "dark" ? "dark" : "light";
  const browser = await (launched[colorScheme] ??= browsers[name](colorScheme));
  const context = await browser.newContext(options);
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

const all = async () => (await Promise.allSettled(Object.values(launched))).flatMap(({ value }) => value ?? []);

afterEach(async () => {
  for (const context of (await all()).flatMap((browser) => browser.contexts())) {
    // A handler that is still at work, such as one that fetches an icon, fails when its page closes.
    for (const routed of [context, ...context.pages()]) await routed.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
  }
});
after(async () => {
  for (const browser of await all()) await browser.close();
});
