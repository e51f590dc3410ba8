// One key, beside the list: its state, what may be done, everything that is known, its use and its trail.
import { ask } from "./api.js";
import { editDialog, revokeDialog, rotateDialog } from "./dialogs.js";
import { attempt, button, copyButton, h, put, show } from "./dom.js";
import { bdi, exact, nameOf, number, reach, state, time, types, who, words } from "./format.js";
import { findings } from "./report.js";
import { sentences } from "./trail.js";
import { usageChart } from "./usage.js";

// keyPanel returns a function that shows the key with an id, again too.
export function keyPanel(root, app, close, changed, signal) {
  let reading;
  let shown = ""; // the id of the key that is shown
  const usage = h("section", { "aria-label": "Use" });
  const trail = h("section", { "aria-label": "Trail of this key" });
  const header = (...content) => h("header", content, button("×", close, ".back", { "aria-label": "Close", title: "Close (Esc)" }));

  function draw(key) {
    const again = () => { read(key.keyId); changed(); };
    const to = (params, text) => h("a", { href: app.hash("keys", "", params) }, text);
    const by = (user) => user && [" by ", to({ by: user, status: "all" }, who(user))];
    const since = (date, user) => date && h("span.hint", " since ", time(date), by(user));
    const code = (text, what) => text && [h("code", text), copyButton(() => text, what)];
    const when = (date) => date && [exact(date), h("span.hint", " · ", time(date))];
    const other = (id) => id && h("a", { href: app.hash("keys", id) }, id);
    const list = (items) => items?.length > 0 && h("ul", items.map((item) => h("li", item)));
    const active = key.status === "ACTIVE";
    const facts = h("dl.facts");
    for (const [label, ...value] of [
      [key.keyType === "RETRIEVER" ? "Executes" : "Reaches",
        list(key.reached.results.map(({ id, name, namespace }) => [to({ in: id }, bdi(name)), h("span.hint", " in ", bdi(namespace.name))])) || reach(key)],
      ["May", key.keyType !== "RETRIEVER" && (key.permissions.map(words).join(", ") || "do nothing")],
      ["Scopes", key.reach !== "RETRIEVERS" && list(key.scopes.map((scope) => [
        words(scope.resourceType), " ", h("code", scope.resourceId),
        scope.operations.length > 0 && h("span.hint", `: ${scope.operations.map(words).join(", ")}`),
      ]))],
      ["Origins", list(key.allowedOrigins?.map(bdi)) || "any"],
      ["Limit", key.rateLimitOverride > 0 && `${number(key.rateLimitOverride)} requests a minute`],
      ["Last used", when(key.lastUsedAt) ?? "never"],
      ["Expires", when(key.expiresAt) ?? "never"],
      ["Made", when(key.createdAt) ?? "at an unknown time", by(key.createdBy)],
      ["Owner", key.userId !== key.createdBy && key.userId && bdi(key.userId)],
      ["Replaces", other(key.rotatedFrom)],
      ["Replaced by", other(key.rotatedTo)],
      ["Key id", code(key.keyId, "the key id")],
      ["Begins with", key.keyPrefix && h("code", key.keyPrefix)],
      ["SHA-256", code(key.keyHash, "the hash")],
      ["Type", types[key.keyType] ?? "Unknown", key.isInternal && ", made by the platform"],
      ["Subscription", code(key.subscriptionId, "the subscription")],
      ["Principal", code(key.principalId, "the principal")],
      ["Organization", code(key.organizationId ?? key.internalId, "the organization")],
    ]) if (value[0]) put(facts, h("dt", label), h("dd", value));
    show(root,
      header(h("h2", bdi(nameOf(key))),
        h("p", state(key.status), { ACTIVE: since(key.createdAt), EXPIRED: since(key.expiresAt), REVOKED: since(key.revokedAt, key.revokedBy) }[key.status]),
        key.revokeReason && h("p.quote", bdi(key.revokeReason)),
        key.description && h("p", bdi(key.description)),
        h("div.actions",
          active && key.viewerCanRotate && button("Rotate …", () => rotateDialog(app, key, (made) => { changed(); app.go("keys", made.keyId); }), "", { "data-focus": "rotate" }),
          active && key.viewerCanUpdate && button("Edit …", () => editDialog(app, key, again), "", { "data-focus": "edit" }),
          key.status !== "REVOKED" && key.viewerCanRevoke && button("Revoke …", () => revokeDialog(app, [key.keyId], again), ".danger", { "data-focus": "revoke" }))),
      key.findings.length > 0 && h("ul.findings", key.findings.map((finding) => h(`li.${findings[finding]?.mark ?? "calm"}`,
        h("b", findings[finding]?.text ?? words(finding)), ". ", findings[finding]?.why,
        finding === "LEAKED" && key.leak && [" Reported ", time(key.leak.reportedAt), key.leak.source && [" by ", bdi(key.leak.source)], ".",
          /^https?:/.test(key.leak.url) && [" ", h("a", { href: key.leak.url, rel: "noreferrer", target: "_blank" }, "Where it was")]]))),
      facts, usage, trail);
  }

  async function read(id) {
    reading?.abort();
    reading = new AbortController();
    const options = { signal: AbortSignal.any([reading.signal, signal]) };
    const wait = setTimeout(() => { if (shown !== id) show(root, header(h("h2", "…"))); }, 150);
    options.signal.addEventListener("abort", () => clearTimeout(wait));
    await attempt(root, options.signal, async () => {
      try {
        const { apiKey } = await ask("Key", { id }, options);
        if (shown !== id) {
          show(usage);
          show(trail);
          root.scrollTop = 0;
        }
        draw(apiKey);
        if (shown !== id) {
          root.focus({ preventScroll: true });
          scrollTo(0, 0); // the panel covers the list if the window is small
        }
        shown = id;
      } catch (failure) {
        shown = "";
        throw failure;
      } finally {
        clearTimeout(wait);
      }
      attempt(usage, options.signal, async () => {
        const { apiKey } = await ask("KeyUsage", { id }, options);
        show(usage, h("h3", "Use"), usageChart(apiKey.usage));
      });
      if (app.viewer.canReadOrganization) {
        attempt(trail, options.signal, async () => {
          const { organization: { auditEvents: { results, total } } } = await ask("OrganizationTrail", { first: 10, filter: { keyId: id } }, options);
          show(trail, h("h3", "Trail"), results.length ? sentences(results, new Map(), app, true) : h("p.hint", "Nothing is recorded."),
            total > results.length && h("a", { href: app.hash("trail", "", { key: id }) }, `All ${number(total)} events`));
        });
      }
    }, ({ code, message }) => code === "NOT_FOUND" ? "You cannot see a key with this id." : message);
    if (!shown && !options.signal.aborted) root.prepend(header());
  }

  return (id) => {
    if (id) return read(id);
    reading?.abort();
    shown = "";
    show(root);
  };
}
