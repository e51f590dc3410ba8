// Makes the picture of the README. `make pictures` runs it.
import { join } from "node:path";
import { openPage } from "./browser.js";
import { start } from "./server.js";

// consolePicture resolves with a page that shows the list and one key of the demo, and no plaintext.
export async function consolePicture(server) {
  const page = await openPage({ viewport: { width: 1280, height: 760 }, colorScheme: "light" });
  await page.goto(server.console);
  await page.getByRole("link", { name: "Kiosk Bergen", exact: true }).first().click();
  await page.locator(".chart").waitFor();
  await page.mouse.move(0, 0);
  return page;
}

if (process.argv[1] === import.meta.filename) {
  const server = await start();
  try {
    const page = await consolePicture(server);
    await page.screenshot({ path: join(import.meta.dirname, "..", "docs", "console.png") });
    await page.context().browser().close();
  } finally {
    await server.stop();
  }
}
