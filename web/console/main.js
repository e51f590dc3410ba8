// The frame: the key, the routes, and what all views share.
import { ask, asked, headers, hooks, loadOperations, setKey } from "./api.js";
import { graphqlDialog, helpDialog } from "./dialogs.js";
import { attempt, button, h, options, show } from "./dom.js";
import { bdi, isolate, who, words } from "./format.js";
import { keysView } from "./keys.js";
import { reportView } from "./report.js";
import { search } from "./search.js";
import { trailView } from "./trail.js";

const $ = (selector) => document.querySelector(selector);
const views = { keys: keysView, trail: trailView, report: reportView };
const keptItem = "retrieverkeys:key"; // in session storage, if the person wants the key kept in the tab
const shortcutsItem = "retrieverkeys:shortcuts";

// Routes are #/VIEW/ID?PARAMETERS. They never contain a key. The parameter "in" is a namespace or a retriever.
function hash(view, id = "", params = {}) {
  const query = new URLSearchParams([...new URLSearchParams(params)].filter(([, value]) => value));
  return `#/${view}${id && `/${encodeURIComponent(id)}`}${query.size ? `?${query}` : ""}`;
}

function parse(text) {
  const [path, query] = text.slice(2).split("?");
  const [view, id = ""] = path.split("/");
  return { view: Object.hasOwn(views, view) ? view : "keys", id: decodeURIComponent(id), params: new URLSearchParams(query) };
}

// app is what views share: the caller, the places, and the way to other routes.
const app = {
  hash,
  go(view, id, params, replace = false) {
    history[replace ? "replaceState" : "pushState"](null, "", hash(view, id, params));
    route();
  },
};
let current; // the view that is shown
let at = parse("#/"); // the route

async function route() {
  if (takeKey() || !app.viewer) return;
  const mine = at = parse(location.hash);
  asked.clear();
  const title = { keys: "Keys", trail: "Trail", report: "Report" }[at.view];
  document.title = `${title} · ${app.name}`;
  $("#app h1").textContent = title;
  const inside = at.params.get("in") ?? "";
  for (const link of document.querySelectorAll("nav a")) {
    link.href = hash(link.dataset.view, "", { in: inside });
    if (link.dataset.view === at.view) link.ariaCurrent = "page";
    else link.removeAttribute("aria-current");
  }
  if (document.activeElement !== $("#find input")) $("#find input").value = at.params.get("search") ?? "";
  await attempt($("#main"), { get aborted() { return mine !== at; } }, async () => {
    const place = inside ? app.places.get(inside) ?? await findPlace(inside) : app.home;
    if (mine !== at) return;
    $("#place").value = inside || app.home.id;
    app.place = place;
    if (current?.name !== at.view || !place) {
      current?.controller.abort();
      current = null;
      show($("#main"), !place && h("div.message", h("p", "You cannot see a namespace or retriever with this id."), h("a", { href: "#/keys" }, "Show all keys")));
      if (!place) return;
      const controller = new AbortController();
      $("#main").className = at.view;
      current = { name: at.view, controller, update: views[at.view](app, $("#main"), controller.signal) };
    }
    current.update(at);
  });
}

// findPlace finds a place that is not in the picker, because there are too many.
async function findPlace(id) {
  const { nodes: [node] } = await ask("Names", { ids: [id] });
  const kind = { Namespace: "namespace", Retriever: "retriever" }[node?.__typename];
  if (!kind) return null;
  $("#place").append(h("option", { value: id }, isolate(node.name)));
  app.places.set(id, { ...node, kind, canCreate: node.viewerCanCreateApiKey });
  return app.places.get(id);
}

// takeKey takes a key from the URL. It leaves the address bar at once, and counts only on this machine, because a link to another host is
// a way to slip somebody a key that is not theirs.
function takeKey() {
  const given = /^#key=(.*)$/.exec(location.hash)?.[1];
  if (given === undefined) return false;
  history.replaceState(null, "", "#/keys");
  if (/^(127(\.\d+){3}|localhost|\[::1\])$/.test(location.hostname)) open(given);
  else door("Links bring keys only to a server on your own machine.");
  return true;
}

async function open(key) {
  leave();
  key = key.trim();
  if (!/^[\w.~+/-]{8,512}=*$/.test(key)) return door("This is not an API key.");
  setKey(key);
  try {
    const { viewer } = await ask("Start");
    const { organization } = viewer;
    Object.assign(app, { viewer, policy: organization.apiKeyPolicy, name: organization.name ?? organization.id, namespaces: organization.namespaces.results, places: new Map() });
  } catch (failure) {
    if (failure.code !== "UNAUTHENTICATED") door(failure.code === "FORBIDDEN" ? "A retriever's key can only execute it. Use a key of your organization." : failure.message);
    return;
  }
  for (const namespace of app.namespaces) {
    app.places.set(namespace.id, { ...namespace, kind: "namespace" });
    for (const retriever of namespace.retrievers.results) app.places.set(retriever.id, { ...retriever, kind: "retriever", namespace, canCreate: retriever.viewerCanCreateApiKey });
  }
  const [first] = app.namespaces;
  const whole = app.viewer.canReadOrganization || !first;
  app.home = whole ? { kind: "organization", id: "" } : app.places.get(first.id);
  show($("#place"), whole && h("option", { value: "" }, "All namespaces"), app.namespaces.map(({ id, name, retrievers }) => h("optgroup", { label: isolate(name) },
    options({ [id]: `All of ${isolate(name)}`, ...Object.fromEntries(retrievers.results.map((retriever) => [retriever.id, isolate(retriever.name)])) }))));
  if ($("#door-keep").checked) sessionStorage.setItem(keptItem, key);
  $("#door-key").value = "";
  $("#door").hidden = true;
  $("#app").hidden = false;
  show($(".brand span"), bdi(app.name));
  account();
  await route();
  if (at.view === "keys" && !at.id) $("#find input").focus({ preventScroll: true });
}

// leave forgets everything that was read.
function leave() {
  current?.controller.abort();
  current = null;
  setKey("");
  app.viewer = null;
  asked.clear();
  $("#main").replaceChildren();
  $("#app").hidden = true;
}

// door asks for a key and says why.
function door(why = "") {
  leave();
  hooks.connection(null);
  sessionStorage.removeItem(keptItem);
  document.title = "retrieverkeys";
  const warning = $("#door .warning");
  warning.textContent = why;
  warning.hidden = !why;
  $("#door").hidden = false;
  $("#door-key").value = "";
  $("#door-key").focus();
}

function account() {
  const { viewer } = app;
  const hide = () => $("#account").hidePopover();
  const kept = h("input", { type: "checkbox", checked: sessionStorage.getItem(keptItem) !== null, onchange() {
    if (kept.checked) sessionStorage.setItem(keptItem, headers().Authorization.slice("Bearer ".length));
    else sessionStorage.removeItem(keptItem);
  } });
  show($("#me"), viewer.userId ? who(viewer.userId) : "Your key");
  show($("#account"),
    h("dl.facts",
      h("dt", "User"), h("dd", bdi(viewer.userId || "not recorded")),
      h("dt", "May"), h("dd", viewer.permissions.map(words).join(", ") || "do nothing"),
      h("dt", "Key"), h("dd", h("a", { href: hash("keys", viewer.keyId), onclick: hide }, viewer.keyId))),
    h("label.check", kept, " Keep the key until I close this tab"),
    button("Forget this key", () => { hide(); door("The key is forgotten."); }));
}

hooks.refused = () => door(app.viewer ? "Your key has stopped working: it was revoked or has expired." : "This key is unknown, revoked or expired.");

// The connection's trouble is shown above everything, and views keep what they have.
let countdown;
hooks.connection = (trouble) => {
  const bar = $("#connection");
  clearInterval(countdown);
  bar.hidden = !trouble;
  if (!trouble) return;
  const why = { RATE_LIMITED: "Your key has sent too many requests.", UNAVAILABLE: "The server is overloaded." }[trouble.code] ?? "No connection to the server.";
  const [text, again] = bar.children;
  again.onclick = trouble.now;
  const tick = () => { text.textContent = `${why} Trying again in ${Math.max(0, Math.ceil((trouble.until - Date.now()) / 1000))} s.`; };
  tick();
  countdown = setInterval(tick, 1000);
};

// The playground reads the key from this window, so that it is in no URL.
function openPlayground({ text, variables, namespace } = {}) {
  const fragment = new URLSearchParams(text && { query: text, variables: JSON.stringify(variables, null, 2) });
  window.playgroundHeaders = () => ({ ...headers(), "X-Namespace": namespace ?? app.place.namespace?.id ?? (app.place.id || app.namespaces[0]?.id) });
  window.open(new URL(`playground#${fragment}`, document.baseURI));
}

const shortcuts = () => localStorage.getItem(shortcutsItem) !== "off";
const actions = {
  skip: () => $("#main").focus(),
  graphql: () => graphqlDialog([...asked], openPlayground),
  playground: () => openPlayground(asked.values().next().value),
  help: () => helpDialog(shortcuts(), (on) => localStorage.setItem(shortcutsItem, on ? "on" : "off")),
};
$("#app").addEventListener("click", ({ target }) => actions[target.closest("[data-do]")?.dataset.do]?.());

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !app.viewer || $("dialog[open], :popover-open")) return;
  if (target.matches("input:not([type=checkbox]), textarea, select")) return;
  if (key === "Escape" && at.id) return app.go("keys", "", at.params);
  if (!shortcuts()) return;
  const act = { "/": () => $("#find input").focus(), "?": actions.help, n: () => $("#new")?.click() }[key]
    ?? (/^[jkx]$/.test(key) && (() => document.dispatchEvent(new CustomEvent("row", { detail: key }))));
  if (!act) return;
  event.preventDefault();
  act();
});

$("#door form").addEventListener("submit", (event) => { event.preventDefault(); open($("#door-key").value); });
$("#place").addEventListener("change", ({ target }) => app.go(at.view, "", { in: target.value }));
search($("#find"), ({ id, type, text }) => {
  if (type === "ApiKey") return app.go("keys", id, at.params);
  if (id) return app.go("keys", "", { in: id });
  const params = { ...Object.fromEntries(at.params), search: text, after: "", before: "", at: "" };
  if (text !== (at.params.get("search") ?? "")) app.go("keys", "", params, at.params.has("search"));
});
addEventListener("hashchange", route);

try {
  await loadOperations();
  const kept = sessionStorage.getItem(keptItem);
  $("#door-keep").checked = kept !== null;
  if (!takeKey()) {
    if (kept) open(kept);
    else door();
  }
} catch {
  document.body.append(h("p.alone", { role: "alert" }, "The console did not load. Reload the page."));
}
