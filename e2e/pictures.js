// Makes the picture of the README. `make pictures` runs it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "./browser.js";
import { start } from "./server.js";

// consolePicture resolves with a page that shows the list and one key of the demo, and no plaintext.
export async function consolePicture(server) {
  const page = await openPage({ viewport: { width: 1280, height: 840 }, colorScheme: "light" });
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
    const png = await page.screenshot();
    // The browser writes WebP, which is a third of the size.
    const blank = await openPage();
    const webp = await blank.evaluate(async (png) => {
      const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
      const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      return canvas.toDataURL("image/webp", 0.9).split(",")[1];
    }, png.toString("base64"));
    writeFileSync(join(import.meta.dirname, "..", "docs", "console.webp"), Buffer.from(webp, "base64"));
    await page.context().browser().close();
  } finally {
    await server.stop();
  }
}
