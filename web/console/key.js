import { ask } from "./api.js";
import { editDialog, originOf, revokeDialog, rotateDialog } from "./dialogs.js";
import { attempt, bar, button, copyable, h, show } from "./dom.js";
import { bdi, count, exact, nameOf, number, reach, state, time, types, who, words } from "./format.js";
import { findings } from "./report.js";
import { sentences } from "./trail.js";

const refusals = {
  REVOKED: "it is revoked", EXPIRED: "it has expired", ORIGIN: "its origins are others", PERMISSION: "it may not read",
  RETRIEVER: "it does not reach the retriever", OPERATION: "its scopes do not let it execute",
};

const passes = ({ allowed, reason }, retriever, origin) => h("p", "A request for ", bdi(retriever.name), origin && [" from ", bdi(origin)],
  allowed ? " would pass now." : [" would be ", h("b", "refused"), ` now: ${refusals[reason]}.`]);

function chart({ allowed, refused, days }) {
  const most = Math.max(...days.map((day) => day.allowed + day.refused));
  return [
    h("p.hint", `In the last ${count(days.length, "day")}: allowed ${count(allowed, "time")}, refused ${count(refused, "time")}; at most ${number(most)} a day.`),
    h("div.chart", { "aria-hidden": "true" }, days.map((day) => h("span", { title: day.date }, bar(".refused", "height", day.refused, most), bar(".allowed", "height", day.allowed, most)))),
    h("details", h("summary", "As a table"), h("table",
      h("thead", h("tr", ["Day", "Allowed", "Refused"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", days.toReversed().map((day) => h("tr", h("th", { scope: "row" }, day.date), h("td", number(day.allowed)), h("td", number(day.refused))))))),
  ];
}

// keyPanel returns a function that shows the key with an id.
export function keyPanel(root, app, close, changed, signal) {
  let reading;
  let shown = ""; // an id
  const use = h("section");
  const trail = h("section");
  const header = (...content) => h("header", content, button("×", close, ".back", { "aria-label": "Close" }));

  function draw(key) {
    const again = () => { read(key.keyId); changed(); };
    const to = (params, text) => h("a", { href: app.hash("keys", "", params) }, text);
    const by = (user) => user && [" by ", to({ by: user, status: "all" }, who(user))];
    const code = (text, what) => text && copyable(text, what);
    const when = (date) => date ? [exact(date), h("span.hint", " · ", time(date))] : "never";
    const other = (id) => id && h("a", { href: app.hash("keys", id) }, id);
    const list = (items) => items?.length > 0 && h("ul", items.map((item) => h("li", item)));
    const active = key.status === "ACTIVE";
    const since = { ACTIVE: key.createdAt, EXPIRED: key.expiresAt, REVOKED: key.revokedAt }[key.status];
    const facts = {
      Reaches: list(key.reached.results.map(({ id, name, namespace }) => [to({ in: id }, bdi(name)), h("span.hint", " in ", bdi(namespace.name))])) || reach(key),
      May: key.keyType !== "RETRIEVER" && (key.permissions.map(words).join(", ") || "do nothing"),
      Scopes: key.reach !== "RETRIEVERS" && list(key.scopes.map(({ resourceType, resourceId, operations }) => [
        words(resourceType), " ", h("code", resourceId), operations.length > 0 && h("span.hint", `: ${operations.map(words).join(", ")}`),
      ])),
      Origins: list(key.allowedOrigins?.map(bdi)) || "any",
      Limit: key.rateLimitOverride > 0 && `${number(key.rateLimitOverride)} requests a minute`,
      "Last used": when(key.lastUsedAt),
      Expires: when(key.expiresAt),
      Made: [key.createdAt ? when(key.createdAt) : "at an unknown time", by(key.createdBy)],
      Owner: key.userId !== key.createdBy && key.userId && bdi(key.userId),
      Replaces: other(key.rotatedFrom),
      "Replaced by": other(key.rotatedTo),
      "Key id": code(key.keyId, "the key id"),
      "SHA-256": code(key.keyHash, "the hash"),
      Type: [types[key.keyType] ?? "Unknown", key.isInternal && ", made by the platform"],
      Subscription: code(key.subscriptionId, "the subscription"),
      Principal: code(key.principalId, "the principal"),
      Organization: code(key.organizationId ?? key.internalId, "the organization"),
    };
    show(root,
      header(h("h2", bdi(nameOf(key))),
        h("p", state(key.status), since && h("span.hint", " since ", time(since), key.status === "REVOKED" && by(key.revokedBy))),
        key.revokeReason && h("p.quote", bdi(key.revokeReason)),
        key.description && h("p", bdi(key.description)),
        h("div.bar",
          active && key.viewerCanRotate && button("Rotate …", () => rotateDialog(app, key, (made) => { changed(); app.go("keys", made.keyId); })),
          active && key.viewerCanUpdate && button("Edit …", () => editDialog(app, key, again)),
          key.status !== "REVOKED" && key.viewerCanRevoke && button("Revoke …", () => revokeDialog(app, [key.keyId], again), ".danger"))),
      key.findings.map((finding) => h(`p.note.${findings[finding].mark}`,
        h("b", findings[finding].text), ". ", findings[finding].why,
        finding === "LEAKED" && key.leak && [" Reported ", time(key.leak.reportedAt), key.leak.source && [" by ", bdi(key.leak.source)], ".",
          /^https?:/.test(key.leak.url) && [" ", h("a", { href: key.leak.url, rel: "noreferrer", target: "_blank" }, "Where it was")]])),
      h("dl.facts", Object.entries(facts).map(([label, value]) => value && [h("dt", label), h("dd", value)])), use, trail);
  }

  async function read(id) {
    reading?.abort();
    reading = new AbortController();
    const options = { signal: AbortSignal.any([reading.signal, signal]) };
    const fresh = shown !== id;
    const wait = setTimeout(() => fresh && show(root, header(h("h2", "…"))), 150);
    await attempt(root, options.signal, async () => {
      const { apiKey } = await ask("Key", { id }, options).finally(() => clearTimeout(wait));
      shown = id;
      draw(apiKey);
      if (fresh) {
        show(use);
        show(trail);
        root.scrollTop = 0;
        root.focus({ preventScroll: true });
        scrollTo(0, 0); // the panel covers the list if the window is small
      }
      const [retriever] = apiKey.reached.results;
      const origin = originOf(apiKey);
      attempt(use, options.signal, async () => {
        const { apiKey: { check, usage } } = await ask("KeyUse", { id, retriever: retriever?.id ?? "", origin }, options);
        show(use, h("h3", "Use"), retriever && passes(check, retriever, origin), chart(usage));
      });
      if (app.viewer.canReadOrganization) {
        attempt(trail, options.signal, async () => {
          const { node: { auditEvents: { results, total } } } = await ask("Trail", { in: app.organization, first: 10, filter: { keyId: id } }, options);
          show(trail, h("h3", "Trail"), results.length ? sentences(results, new Map(), app, true) : h("p.hint", "Nothing is recorded."),
            total > results.length && h("a", { href: app.hash("trail", "", { key: id }) }, `All ${number(total)} events`));
        });
      }
    }, ({ code, message }) => {
      shown = "";
      return code === "NOT_FOUND" ? "You cannot see a key with this id." : message;
    });
    if (!shown && !options.signal.aborted) root.prepend(header());
  }

  return (id) => {
    if (id) return read(id);
    reading?.abort();
    shown = "";
    show(root);
  };
}
