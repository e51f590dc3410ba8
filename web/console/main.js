// The frame: the key, the routes, and what all views share.
import { Failure, ask, asked, headers, hooks, loadOperations, setKey } from "./api.js";
import { graphqlDialog, helpDialog } from "./dialogs.js";
import { h, say, show } from "./dom.js";
import { bdi, who, words } from "./format.js";
import { keysView } from "./keys.js";
import { placePicker } from "./picker.js";
import { reportView } from "./report.js";
import { search } from "./search.js";
import { trailView } from "./trail.js";

const $ = (selector) => document.querySelector(selector);
const views = { keys: keysView, trail: trailView, report: reportView };
const keptItem = "retrieverkeys:key"; // in session storage, while the person wants the key kept in the tab
const shortcutsItem = "retrieverkeys:shortcuts";

// app is what views share.
const app = {
  viewer: null,
  organization: null,
  version: "",
  home: null, // the place where lists start
  place: null, // where lists look now: {kind, id, name}
  can: (permission) => app.viewer.permissions.some((own) => rank.indexOf(own) >= rank.indexOf(permission)),
  go: (view, id, params, { replace } = {}) => {
    const url = hash(view, id, params);
    if (replace) history.replaceState(null, "", url);
    else history.pushState(null, "", url);
    route();
  },
  hash,
  refresh: () => current?.update(at, { again: true }),
};
const rank = ["UNKNOWN", "READ", "WRITE", "DELETE", "ADMIN"];

let current = null; // the view that is shown: {name, update, leave}
let at = parse(""); // the route

// Routes are #/VIEW/ID?PARAMETERS. They never contain a key.
function parse(text) {
  const [path, query] = text.replace(/^#\/?/, "").split("?");
  const [view, id] = path.split("/");
  return { view: Object.hasOwn(views, view) ? view : "keys", id: id ? decodeURIComponent(id) : "", params: new URLSearchParams(query) };
}

function hash(view, id, params) {
  const query = new URLSearchParams([...params].filter(([, value]) => value)).toString();
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ""}${query && `?${query}`}`;
}

async function route() {
  if (takeKey() || !app.viewer) return;
  at = parse(location.hash);
  asked.clear();
  const title = { keys: "Keys", trail: "Trail", report: "Report" }[at.view];
  document.title = `${title} · ${app.organization.name ?? app.organization.id} · retrieverkeys`;
  const inside = new URLSearchParams([["in", at.params.get("in") ?? ""]]);
  for (const link of document.querySelectorAll("nav a")) {
    link.href = hash(link.dataset.view, "", inside);
    if (link.dataset.view === at.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const mine = at;
  try {
    app.place = await placeOf(at.params.get("in"));
  } catch (failure) {
    if (mine === at && failure instanceof Failure) lostPlace(failure.message);
    return;
  }
  if (mine !== at) return;
  if (!app.place) {
    lostPlace("There is no such namespace or retriever, or your key may not see it.");
    return;
  }
  $("#place input").value = "";
  $("#place input").placeholder = app.place.label;
  if (current?.name !== at.view) {
    current?.leave();
    $("#main").replaceChildren();
    const controller = new AbortController();
    current = { name: at.view, leave: () => controller.abort(), update: views[at.view](app, $("#main"), controller.signal) };
  }
  current.update(at, {});
}

function lostPlace(message) {
  current?.leave();
  current = null;
  show($("#main"), h("div.message", null, h("p", null, message), h("a", { href: "#/keys" }, "Show all keys")));
}

const places = new Map();

// placeOf resolves to a namespace, a retriever or the place where lists start.
async function placeOf(id) {
  if (!id) return app.home;
  if (!places.has(id)) {
    const { nodes: [node] } = await ask("Names", { ids: [id] }, { quiet: true });
    const kind = { Namespace: "namespace", Retriever: "retriever" }[node?.__typename];
    if (!kind) return null;
    places.set(id, { kind, id, name: node.name, label: node.name, namespace: node.namespace, canCreate: node.viewerCanCreateApiKey });
  }
  return places.get(id);
}

// takeKey takes a key from the URL's fragment. It leaves the address bar at once, and counts only on this machine, because a link to
// another host is a way to hand somebody else's key to a person who does not notice.
function takeKey() {
  const given = /^#key=(.*)$/.exec(location.hash)?.[1];
  if (given === undefined) return false;
  history.replaceState(null, "", "#/keys");
  if (/^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(location.hostname)) open(decodeURIComponent(given));
  else door("A link can bring a key only to a server on your own machine. Enter the key here.");
  return true;
}

async function open(key) {
  leave();
  key = key.trim();
  if (!/^[\w.~+/-]{8,512}=*$/.test(key)) return door("This is not an API key: it contains characters that no key has.");
  setKey(key);
  try {
    const { viewer, serverInfo } = await ask("Start");
    const { organization } = viewer;
    const namespace = organization.namespaces.results[0];
    Object.assign(app, { viewer, organization, version: serverInfo.version });
    app.home = viewer.canReadOrganization || !namespace
      ? { kind: "organization", id: organization.id, name: organization.name ?? organization.id, label: "The whole organization" }
      : { kind: "namespace", id: namespace.id, name: namespace.name, label: namespace.name };
  } catch (failure) {
    if (failure.code === "FORBIDDEN") {
      return door("This key may not read keys. Keys of retrievers can only execute them: use a key of your organization.");
    }
    return failure.code === "UNAUTHENTICATED" ? undefined : door(failure.message);
  }
  if ($("#door-keep").checked) sessionStorage.setItem(keptItem, key);
  $("#door-key").value = "";
  $("#door").hidden = true;
  $("#app").hidden = false;
  show($("#organization"), bdi(app.organization.name ?? app.organization.id));
  account();
  await route();
  if (at.view === "keys" && !at.id) $("#find input").focus({ preventScroll: true });
}

// leave forgets everything that was read.
function leave() {
  current?.leave();
  current = null;
  setKey("");
  places.clear();
  asked.clear();
  app.viewer = null;
  $("#main").replaceChildren();
  $("#app").hidden = true;
}

// door asks for a key and says why.
function door(why = "") {
  leave();
  hooks.connection(null);
  sessionStorage.removeItem(keptItem);
  document.title = "retrieverkeys";
  $("#door-why").textContent = why;
  $("#door-why").hidden = !why;
  $("#door").hidden = false;
  $("#door-key").value = "";
  $("#door-key").focus();
}

function account() {
  const { viewer } = app;
  const kept = h("input", {
    type: "checkbox", checked: sessionStorage.getItem(keptItem) !== null,
    onchange() {
      if (kept.checked) sessionStorage.setItem(keptItem, headers().Authorization.slice("Bearer ".length));
      else sessionStorage.removeItem(keptItem);
    },
  });
  show($("#me"), viewer.userId ? who(viewer.userId) : "Your key");
  show($("#account"),
    h("dl", null,
      h("dt", null, "User"), h("dd", null, bdi(viewer.userId || "not recorded")),
      h("dt", null, "May"), h("dd", null, viewer.permissions.map(words).join(", ") || "nothing"),
      h("dt", null, "Sees"), h("dd", null, viewer.canReadOrganization ? "the whole organization" : "what its scopes cover"),
      h("dt", null, "Key"), h("dd", null, h("a", { href: hash("keys", viewer.keyId, new URLSearchParams()), onclick: () => $("#account").hidePopover() }, viewer.keyId)),
      h("dt", null, "Server"), h("dd", null, app.version)),
    h("label.check", null, kept, " Keep the key until I close this tab"),
    h("button", { type: "button", onclick: () => { $("#account").hidePopover(); door("The key is forgotten."); } }, "Forget this key"));
}

hooks.refused = () => {
  const known = app.viewer !== null;
  door(known ? "Your key has stopped working: it was revoked, or it has expired. Enter another to go on." : "This key is unknown, revoked or expired.");
};

// The connection's trouble is shown above everything, and views keep what they have.
let countdown;
hooks.connection = (trouble) => {
  const bar = $("#connection");
  clearInterval(countdown);
  bar.hidden = !trouble;
  if (!trouble) return;
  const why = { RATE_LIMITED: "Your key has sent too many requests.", UNAVAILABLE: "The server is overloaded." }[trouble.failure.code] ?? "No connection to the server.";
  const [text, button] = bar.children;
  button.onclick = trouble.now;
  const tick = () => {
    const seconds = Math.ceil((trouble.until - Date.now()) / 1000);
    text.textContent = seconds > 0 ? `${why} Trying again in ${seconds} s.` : `${why} Trying again …`;
  };
  tick();
  countdown = setInterval(tick, 1000);
};

// The playground reads the key from this page, so that it is in no URL.
function openPlayground({ text, variables, namespace } = {}) {
  const fragment = new URLSearchParams();
  if (text) fragment.set("query", text);
  if (variables) fragment.set("variables", JSON.stringify(variables, null, 2));
  window.playgroundHeaders = () => ({ ...headers(), "X-Namespace": namespace ?? (app.place.kind === "namespace" ? app.place.id : app.place.namespace?.id) });
  window.open(new URL(`playground#${fragment}`, document.baseURI));
}

$("nav").addEventListener("click", ({ target }) => {
  const wanted = target.closest("[data-do]")?.dataset.do;
  if (wanted === "graphql") graphqlDialog([...asked], openPlayground);
  if (wanted === "playground") openPlayground([...asked.values()].at(-1));
  if (wanted === "help") help();
});
$("[data-do=skip]").addEventListener("click", () => $("#main").focus());

const shortcuts = () => localStorage.getItem(shortcutsItem) !== "off";
const help = () => helpDialog(shortcuts(), (on) => on ? localStorage.removeItem(shortcutsItem) : localStorage.setItem(shortcutsItem, "off"));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !app.viewer || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && at.id && !event.defaultPrevented && !document.querySelector(":popover-open")) {
    if (!event.target.matches("input, textarea, select")) app.go("keys", "", at.params);
    return;
  }
  if (!shortcuts() || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const act = { "/": () => $("#find input").focus(), "?": help, n: () => document.querySelector("[data-do=new]")?.click() }[event.key]
    ?? (["j", "k", "x"].includes(event.key) ? () => document.dispatchEvent(new CustomEvent("row", { detail: event.key })) : null);
  if (!act) return;
  event.preventDefault();
  act();
});

$("#door form").addEventListener("submit", (event) => {
  event.preventDefault();
  open($("#door-key").value);
});

search($("#find"), app, () => at);
placePicker($("#place"), { label: "Where to look", places: true, app, choose: (id) => {
  app.go(at.view, "", new URLSearchParams([["in", id]]));
  say("Showing another place.");
} });

addEventListener("hashchange", route);
addEventListener("popstate", () => { if (!location.hash.startsWith("#key=")) route(); });

try {
  await loadOperations();
  if (!takeKey()) {
    const kept = sessionStorage.getItem(keptItem);
    if (kept) $("#door-keep").checked = true;
    if (kept) await open(kept);
    else door();
  }
} catch {
  document.body.append(h("p.alone", { role: "alert" }, "The console did not load completely. Reload the page."));
}

