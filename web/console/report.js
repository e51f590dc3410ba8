import { ask } from "./api.js";
import { attempt, bar, h, show } from "./dom.js";
import { count, number } from "./format.js";

// findings are the values of ApiKeyFinding, worst first. field is their field in ApiKeyReport.
export const findings = {
  LEAKED: { text: "Leaked", why: "Others can read its plaintext.", mark: "bad", field: "leaked" },
  EXPIRES_SOON: { text: "Expiring soon", why: "Rotate it, or give it a later end.", mark: "warn", field: "expiresSoon" },
  BEYOND_MAX_LIFETIME: { text: "Living too long", why: "Longer than this server's maximum.", mark: "warn", field: "beyondMaxLifetime" },
  NEVER_EXPIRES: { text: "Without an end", why: "Anyone who finds it can use it until it is revoked.", mark: "calm", field: "neverExpires" },
  STALE: { text: "Stale", why: "Not used for a long time. Revoke it if nobody needs it.", mark: "calm", field: "stale" },
  UNUSED: { text: "Never used", why: "Old, and never used. Revoke it if nobody needs it.", mark: "calm", field: "unused" },
};

// A leak matters if the key is revoked too.
export const filterOf = (finding) => ({ finding, status: finding === "LEAKED" ? "all" : "" });

export function reportView(app, root, signal) {
  function bars(caption, rows) {
    const most = Math.max(...rows.map(({ total }) => total));
    return h("table.bars", h("caption", caption), h("tbody", rows.map(({ text, why, total, mark, params }) => h(`tr.${mark}`,
      h("th", { scope: "row" }, h("a", { href: app.hash("keys", "", params) }, text), h("span.under", why)),
      h("td", { "aria-hidden": "true" }, bar("", "width", total, most)), h("td", number(total))))));
  }

  return () => attempt(root, signal, async () => {
    const { organization: { apiKeyReport: report } } = await ask("Report", {}, { signal });
    show(root, h("section",
      bars(count(report.active + report.revoked + report.expired, "key"), [
        { text: "Active", total: report.active, mark: "good" },
        { text: "Expired", total: report.expired, mark: "warn", params: { status: "EXPIRED" } },
        { text: "Revoked", total: report.revoked, mark: "bad", params: { status: "REVOKED" } },
      ]),
      bars("Needs attention", Object.entries(findings).map(([finding, about]) => ({ ...about, total: report[about.field], params: filterOf(finding) }))),
      report.unlisted > 0 && h("p.note.warn", `${count(report.unlisted, "key")} cannot be listed, because a field is missing. “retrieverkeys repair” helps.`)));
  }, ({ code, message }) => code === "FORBIDDEN" ? "The report is about all keys of the organization. Your key may not read it." : message);
}
