// One key, beside the list: its state, what may be done, everything that is known, its use and its trail.
import { Failure, ask, has } from "./api.js";
import { editDialog, revokeDialog, rotateDialog } from "./dialogs.js";
import { copyButton, h, show } from "./dom.js";
import { bdi, count, exact, nameOf, number, reach, state, time, types, who, words } from "./format.js";
import { findings } from "./report.js";
import { sentences } from "./trail.js";
import { usageChart } from "./usage.js";

export function keyPanel(root, app, { close, changed }, signal) {
  let id = "";
  let reading;
  let shown = null; // the key that is shown

  const top = (...content) => h("header", null, h("button.back", { type: "button", "aria-label": "Close", title: "Close (Esc)", onclick: close }, "×"), ...content);

  function draw(key) {
    shown = key;
    const facts = h("dl.facts");
    const fact = (label, ...value) => { if (value.some((v) => v !== null && v !== undefined && v !== false && v !== "")) facts.append(h("dt", null, label), h("dd", null, value)); };
    const code = (value, what) => value && [h("code", null, value), copyButton(() => value, what)];
    const when = (date) => date && [exact(date), h("span.hint", null, " · ", time(date))];
    const link = (keyId) => keyId && h("a", { href: app.hash("keys", keyId, new URLSearchParams()) }, keyId);
    const by = (user) => user && [" by ", h("a", { href: app.hash("keys", "", new URLSearchParams([["by", user], ["status", "all"]])) }, who(user))];
    fact("Reaches", h("span", null, key.keyType === "RETRIEVER" ? "Executes " : "Has ", key.keyType !== "RETRIEVER" && `${key.permissions.map(words).join(", ") || "no permission"} on `, reach(key),
      key.allowedOrigins ? ` from ${count(key.allowedOrigins.length, "origin")}` : ""));
    if (key.reached.results.length) {
      fact("Retrievers", h("ul", null, key.reached.results.map((retriever) => h("li", null,
        h("a", { href: app.hash("keys", "", new URLSearchParams([["in", retriever.id]])) }, bdi(retriever.name)), h("span.hint", null, " in ", bdi(retriever.namespace.name))))));
    }
    if (key.reach !== "RETRIEVERS" && key.scopes.length) {
      fact("Scopes", h("ul", null, key.scopes.map((scope) => h("li", null, words(scope.resourceType), " ", h("code", null, scope.resourceId), scope.operations.length > 0 && h("span.hint", null, `: ${scope.operations.map(words).join(", ")}`)))));
    }
    fact("Origins", key.allowedOrigins && h("ul", null, key.allowedOrigins.map((origin) => h("li", null, bdi(origin)))));
    fact("Limit", key.rateLimitOverride > 0 && `${number(key.rateLimitOverride)} requests a minute`);
    fact("Last used", when(key.lastUsedAt) || "never");
    fact("Expires", when(key.expiresAt) || "never");
    fact("Made", when(key.createdAt), by(key.createdBy));
    fact("Owner", key.userId && key.userId !== key.createdBy && bdi(key.userId));
    fact("Replaces", link(key.rotatedFrom));
    fact("Replaced by", link(key.rotatedTo));
    fact("Key id", code(key.keyId, "the key id"));
    fact("Begins with", key.keyPrefix && h("code", null, key.keyPrefix));
    fact("SHA-256", code(key.keyHash, "the hash"));
    fact("Type", types[key.keyType], key.isInternal && " · made by the platform");
    fact("Subscription", code(key.subscriptionId, "the subscription"));
    fact("Principal", code(key.principalId, "the principal"));
    fact("Organization", code(key.organizationId ?? key.internalId, "the organization"));

    const act = (may, text, kind, open) => may && h(`button${kind}`, { type: "button", "data-focus": text, onclick: open }, text);
    const since = { REVOKED: key.revokedAt && ["since ", time(key.revokedAt), by(key.revokedBy)], EXPIRED: key.expiresAt && ["since ", time(key.expiresAt)], ACTIVE: key.createdAt && ["since ", time(key.createdAt)] }[key.status];
    const active = key.status === "ACTIVE";
    show(root,
      top(h("h2", null, bdi(nameOf(key))), h("p", null, state(key.status), since && h("span.hint", null, " ", since)),
        key.revokeReason && h("p.quote", null, bdi(key.revokeReason)),
        key.description && h("p", null, bdi(key.description)),
        h("div.actions", null,
          act(active && key.viewerCanRotate, "Rotate …", "", () => rotateDialog(app, key, (made) => { changed(); app.go("keys", made.keyId, new URLSearchParams()); })),
          act(active && key.viewerCanUpdate, "Edit …", "", () => editDialog(app, key, again)),
          act(key.status !== "REVOKED" && key.viewerCanRevoke, "Revoke …", ".danger", () => revokeDialog(app, [key.keyId], again)))),
      key.findings?.length > 0 && h("ul.findings", null, key.findings.map((finding) => h(`li.${findings[finding]?.mark ?? "calm"}`, null, h("b", null, findings[finding]?.text ?? words(finding)), " ", findings[finding]?.why,
        finding === "LEAKED" && key.leak && [" Reported ", time(key.leak.reportedAt), key.leak.source && [" by ", bdi(key.leak.source)], ". ",
          /^https?:/.test(key.leak.url ?? "") && h("a", { href: key.leak.url, rel: "noreferrer", target: "_blank" }, "Where it was found")]))),
      facts, usage, trail);
  }

  const usage = h("section", { "aria-label": "Use" });
  const trail = h("section", { "aria-label": "Trail of this key" });

  function again() {
    read();
    changed();
  }

  async function readTrail(options) {
    if (!app.viewer.canReadOrganization) return show(trail);
    try {
      const { organization } = await ask("KeyTrail", { id }, options);
      const { results, total } = organization.auditEvents;
      show(trail, h("h3", null, "Trail"), results.length ? sentences(results, new Map([[id, { name: shown?.name ?? id }]]), app) : h("p.hint", null, "Nothing is recorded."),
        total > results.length && h("p", null, h("a", { href: app.hash("trail", "", new URLSearchParams([["key", id]])) }, `All ${number(total)} events`)));
    } catch (failure) {
      if (failure instanceof Failure) show(trail, h("h3", null, "Trail"), h("p.error", null, failure.message));
    }
  }

  async function readUsage(options) {
    if (!has("KeyUsage")) return;
    try {
      const { apiKey } = await ask("KeyUsage", { id }, options);
      show(usage, h("h3", null, "Use"), usageChart(apiKey.usage));
    } catch (failure) {
      if (failure instanceof Failure) show(usage, h("h3", null, "Use"), h("p.error", null, failure.message));
    }
  }

  async function read() {
    reading?.abort();
    if (!id) return;
    reading = new AbortController();
    const options = { signal: AbortSignal.any([reading.signal, signal]) };
    const mine = id;
    const wait = setTimeout(() => { if (shown?.keyId !== mine) show(root, top(h("h2", null, "…")), h("div.skeleton", { "aria-hidden": "true" }, Array.from({ length: 8 }, () => h("i")))); }, 150);
    try {
      const { apiKey } = await ask("Key", { id }, options);
      clearTimeout(wait);
      if (shown?.keyId !== mine) { show(usage); show(trail); }
      const first = shown?.keyId !== mine;
      draw(apiKey);
      if (first) {
        root.scrollTop = 0;
        root.focus({ preventScroll: true });
      }
      await Promise.all([readUsage(options), readTrail(options)]);
    } catch (failure) {
      clearTimeout(wait);
      if (options.signal.aborted) return;
      if (!(failure instanceof Failure)) throw failure;
      shown = null;
      show(root, top(h("h2", null, "No key to show")), h("p", { role: "alert" }, failure.code === "NOT_FOUND" ? "There is no key with this id, or your key may not see it." : failure.message),
        h("p", null, h("button", { type: "button", onclick: read }, "Try again")));
    }
  }

  return {
    update(next) {
      id = next;
      if (!id) { reading?.abort(); shown = null; show(root); }
      else read();
    },
    again: () => read(),
  };
}
