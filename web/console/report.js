// The report: how many keys there are in which state, and what needs attention. Each piece is a filter of the list.
import { Failure, ask, has } from "./api.js";
import { h, show } from "./dom.js";
import { count, duration, number } from "./format.js";

// findings are the values of ApiKeyFinding: what they are called, why they matter, and how much. A mark is shown in lists too.
export const findings = {
  LEAKED: { text: "Leaked", why: "Its plaintext was seen in public.", mark: "bad", field: "leaked" },
  EXPIRES_SOON: { text: "Expires soon", why: "It stops working soon. Rotate it, or give it a later end.", mark: "warn", field: "expiresSoon" },
  BEYOND_MAX_LIFETIME: { text: "Lives too long", why: "It lives longer than this server's maximum.", mark: "warn", field: "beyondMaxLifetime" },
  NEVER_EXPIRES: { text: "Never expires", why: "Whoever finds it can use it for as long as it is not revoked.", field: "neverExpires" },
  STALE: { text: "Stale", why: "It was not used for a long time. If nobody needs it, revoke it.", field: "stale" },
  UNUSED: { text: "Never used", why: "It is old, and was never used. If nobody needs it, revoke it.", field: "unused" },
};

async function read(app, signal, options) {
  const { organization } = await ask("Report", {}, { signal, ...options });
  app.policy = organization.apiKeyPolicy;
  return organization.apiKeyReport;
}

// attention resolves to the findings that some keys have, worst first, or to nothing if the caller may not know.
export async function attention(app, signal) {
  if (!app.viewer.canReadOrganization || !has("Report")) return null;
  try {
    const report = await read(app, signal, { quiet: true });
    return Object.entries(findings).map(([finding, { field }]) => ({ finding, total: report[field] })).filter(({ total }) => total > 0);
  } catch (failure) {
    if (failure instanceof Failure || signal.aborted) return null;
    throw failure;
  }
}

export function reportView(app, root, signal) {
  const region = h("section.report", { "aria-label": "Report" });
  root.append(region);

  // bars is a table whose second column is drawn: screen readers read the numbers, others see the lengths.
  const bars = (caption, rows) => {
    const most = Math.max(1, ...rows.map(({ total }) => total));
    return h("table.bars", null, h("caption", null, caption), h("tbody", null, rows.map(({ text, why, total, kind, params }) => {
      const bar = h("i");
      bar.style.width = total ? `max(2px, ${total / most * 100}%)` : "0";
      return h(`tr.${kind}`, null,
        h("th", { scope: "row" }, total ? h("a", { href: app.hash("keys", "", new URLSearchParams(params)) }, text) : text, h("span.hint", null, why)),
        h("td.bar", { "aria-hidden": "true" }, bar), h("td.total", null, number(total)));
    })));
  };

  async function draw() {
    if (!app.viewer.canReadOrganization) {
      show(region, h("div.message", null, h("p", null, "The report is about all keys of the organization. Your key may not read them: it needs the permission admin, and no narrower scopes.")));
      return;
    }
    try {
      const report = await read(app, signal);
      const { policy } = app;
      const total = report.active + report.revoked + report.expired;
      show(region,
        h("h1", null, count(total, "key")),
        bars("States", [
          { text: "Active", total: report.active, kind: "active", params: [] },
          { text: "Expired", total: report.expired, kind: "expired", params: [["status", "expired"]] },
          { text: "Revoked", total: report.revoked, kind: "revoked", params: [["status", "revoked"]] },
        ]),
        bars("Needs attention", Object.entries(findings).map(([finding, { text, why, mark, field }]) => ({
          text, why, total: report[field], kind: mark ?? "calm", params: [["finding", finding.toLowerCase()], ...finding === "LEAKED" ? [["status", "all"]] : []],
        }))),
        report.unlisted > 0 && h("p.warning", null, `${count(report.unlisted, "document")} of the organization cannot be listed, because it has no id or hash. Run “retrieverkeys repair”.`),
        policy && h("p.hint", null, [
          policy.defaultLifetimeSeconds && `New keys expire after ${duration(policy.defaultLifetimeSeconds)} unless they say otherwise.`,
          policy.maxLifetimeSeconds && `No key may live longer than ${duration(policy.maxLifetimeSeconds)}.`,
          `A key is stale when it was not used for ${duration(policy.staleAfterSeconds)}.`,
          policy.expiryNoticeSeconds > 0 && `It expires soon in the last ${duration(policy.expiryNoticeSeconds)}.`,
          policy.leakAction === "REVOKE" ? "A leaked key is revoked at once." : "A leaked key is reported, and keeps working.",
        ].filter(Boolean).join(" ")));
    } catch (failure) {
      if (signal.aborted) return;
      if (!(failure instanceof Failure)) throw failure;
      show(region, h("div.message", null, h("p", { role: "alert" }, failure.message), h("p", null, h("button", { type: "button", onclick: draw }, "Try again"))));
    }
  }

  return () => { draw(); };
}
