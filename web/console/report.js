// The report: how many keys are in which state, and what needs attention. Each piece is a filter of the list.
import { Failure, ask } from "./api.js";
import { attempt, h, show } from "./dom.js";
import { count, duration, number } from "./format.js";

// findings are the values of ApiKeyFinding, worst first: what they are called, why they matter, and their field in ApiKeyReport. Those
// with a mark are marked in lists too.
export const findings = {
  LEAKED: { text: "Leaked", why: "Others can read its plaintext.", mark: "bad", field: "leaked" },
  EXPIRES_SOON: { text: "Expiring soon", why: "Rotate it, or give it a later end.", mark: "warn", field: "expiresSoon" },
  BEYOND_MAX_LIFETIME: { text: "Living too long", why: "Longer than this server's maximum.", mark: "warn", field: "beyondMaxLifetime" },
  NEVER_EXPIRES: { text: "Without an end", why: "Anyone who finds it can use it until it is revoked.", field: "neverExpires" },
  STALE: { text: "Stale", why: "Not used for a long time. Revoke it if nobody needs it.", field: "stale" },
  UNUSED: { text: "Never used", why: "Old, and never used. Revoke it if nobody needs it.", field: "unused" },
};

// attention resolves to the findings that some keys have, with their numbers, or to null if they cannot be read.
export async function attention(signal) {
  try {
    const { organization: { apiKeyReport } } = await ask("Report", {}, { signal });
    return Object.entries(findings).map(([finding, { field }]) => [finding, apiKeyReport[field]]).filter(([, total]) => total > 0);
  } catch (failure) {
    if (failure instanceof Failure || signal.aborted) return null;
    throw failure;
  }
}

export function reportView(app, root, signal) {
  // bars is a table whose second column is drawn: some read the numbers, others see the lengths.
  function bars(caption, rows) {
    const most = Math.max(1, ...rows.map(({ total }) => total));
    return h("table.bars", h("caption", caption), h("tbody", rows.map(({ text, why, total, mark = "calm", ...params }) => {
      const bar = h("i");
      bar.style.width = `${total / most * 100}%`;
      return h(`tr.${mark}`, h("th", { scope: "row" }, h("a", { href: app.hash("keys", "", params) }, text), h("span.under", why)), h("td", { "aria-hidden": "true" }, bar), h("td", number(total)));
    })));
  }

  return () => attempt(root, signal, async () => {
    const { organization: { apiKeyReport: report } } = await ask("Report", {}, { signal });
    const { defaultLifetimeSeconds: usual, maxLifetimeSeconds: most, staleAfterSeconds: stale } = app.policy;
    show(root, h("section",
      h("h2", count(report.active + report.revoked + report.expired, "key")),
      bars("States", [
        { text: "Active", total: report.active, mark: "good" },
        { text: "Expired", total: report.expired, mark: "warn", status: "EXPIRED" },
        { text: "Revoked", total: report.revoked, mark: "bad", status: "REVOKED" },
      ]),
      bars("Needs attention", Object.entries(findings).map(([finding, { field, ...rest }]) => ({ ...rest, total: report[field], finding, status: finding === "LEAKED" ? "all" : "" }))),
      report.unlisted > 0 && h("p.warning", `${count(report.unlisted, "key")} cannot be listed, because a field is missing. “retrieverkeys repair” helps.`),
      h("p.hint", [
        usual && `New keys expire after ${duration(usual)}.`, most && `No new key may live longer than ${duration(most)}.`,
        `A key is stale if it was not used for ${duration(stale)}.`,
      ].filter(Boolean).join(" "))));
  }, ({ code, message }) => code === "FORBIDDEN" ? "The report is about all keys of the organization. Your key may not read it." : message);
}
