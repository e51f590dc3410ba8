// Makes the pictures of the README. `make pictures` runs it, with a binary that contains the playground.
import { join } from "node:path";
import { openPage } from "./browser.js";
import { start } from "./server.js";

const query = `query Keys {
  retriever(id: "product-search") {
    apiKeys(
      first: 3
      includeRevoked: true
      orderBy: { field: LAST_USED_AT, direction: DESC }
    ) {
      total
      results {
        name
        status
        createdBy
        lastUsedAt
      }
    }
  }
}
`;

// playground resolves with a page that shows the query's answer, and no key.
export async function playground(server) {
  const page = await openPage({ viewport: { width: 1200, height: 680 }, colorScheme: "light" });
  await page.goto(server.playground.replace(/query=[^&]*/, `query=${encodeURIComponent(query)}`));
  await page.locator(".graphiql-query-editor .CodeMirror-code").waitFor();
  await page.locator("[aria-label='Re-fetch GraphQL schema']:enabled").waitFor();
  await page.getByRole("button", { name: "Execute query" }).click();
  await page.locator(".result-window").getByText('"lastUsedAt"').first().waitFor();
  await page.getByRole("button", { name: "Variables" }).click();
  return page;
}

if (process.argv[1] === import.meta.filename) {
  const server = await start();
  try {
    const page = await playground(server);
    await page.screenshot({ path: join(import.meta.dirname, "..", "docs", "playground.png") });
    await page.context().browser().close();
  } finally {
    await server.stop();
  }
}
