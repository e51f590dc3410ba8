// Runs the tests of the console and of the playground in Firefox too.
import { describe } from "node:test";

process.env.E2E_BROWSER = "firefox";

describe("in Firefox", async () => {
  await import("./console.test.js");
  await import("./playground.test.js");
});
