import { Failure, ask, asked, headers, hooks, loadOperations, setKey } from "./api.js";
import { graphqlDialog } from "./dialogs.js";
import { attempt, button, h, show } from "./dom.js";
import { bdi, capital, isolate, who } from "./format.js";
import { keysView } from "./keys.js";
import { reportView } from "./report.js";
import { search, secret } from "./search.js";
import { trailView } from "./trail.js";

const $ = (selector) => document.querySelector(selector);
const views = { keys: keysView, trail: trailView, report: reportView };
const keptItem = "retrieverkeys:key"; // in session storage, on request

// The parameter "in" is a namespace or a retriever.
const safe = (params) => new URLSearchParams([...new URLSearchParams(params)].filter(([, value]) => value && !secret.test(value)));

function hash(view, id = "", params = {}) {
  const query = safe(params);
  return `#/${view}${id && `/${encodeURIComponent(id)}`}${query.size ? `?${query}` : ""}`;
}

function parse(text) {
  const [path, query] = text.slice(2).split("?");
  const [view, part = ""] = path.split("/");
  const id = new URLSearchParams(`id=${part}`).get("id"); // unlike decodeURIComponent, it takes any text
  return { view: Object.hasOwn(views, view) ? view : "keys", id: secret.test(id) ? "" : id, params: safe(query) };
}

// app is what views share. app.place is what is shown: the organization, with the id "", a namespace or a retriever.
const app = {
  hash,
  go(view, id, params, replace = false) {
    history[replace ? "replaceState" : "pushState"](null, "", hash(view, id, params));
    route();
  },
};
let current;
let at = parse("#/");

async function route() {
  if (takeKey()) return;
  const mine = at = parse(location.hash);
  history.replaceState(null, "", hash(at.view, at.id, at.params));
  if (!app.viewer) return;
  const title = capital(at.view);
  document.title = `${title} · ${app.name}`;
  $("#app h1").textContent = title;
  const inside = at.params.get("in") ?? "";
  for (const link of document.querySelectorAll("nav a")) {
    link.href = hash(link.dataset.view, "", { in: inside });
    link.ariaCurrent = String(link.dataset.view === at.view);
  }
  const box = $("#find input");
  if (document.activeElement !== box) box.value = at.params.get("search") ?? "";
  await attempt($("#main"), { get aborted() { return mine !== at; } }, async () => {
    const place = inside ? app.places.get(inside) ?? await findPlace(inside) : app.home;
    if (mine !== at) return;
    $("#place").value = inside || app.home.id;
    app.place = place;
    if (current?.name !== at.view) {
      current?.controller.abort();
      asked.clear();
      const controller = new AbortController();
      $("#main").className = at.view;
      show($("#main"));
      current = { name: at.view, controller, update: views[at.view](app, $("#main"), controller.signal) };
    }
    current.update(at);
  }, ({ message }) => {
    current?.controller.abort();
    current = null;
    return message;
  });
}

function addPlace(place) {
  app.places.set(place.id, place);
  return h("option", { value: place.id }, !place.namespace && "All of ", isolate(place.name));
}

// findPlace finds a place that is not in the picker, because there are too many.
async function findPlace(id) {
  const { nodes: [node] } = await ask("Names", { ids: [id] });
  if (!/^(Namespace|Retriever)$/.test(node?.__typename)) throw new Failure("NOT_FOUND", "You cannot see a namespace or retriever with this id.");
  $("#place").append(addPlace(node));
  return node;
}

// takeKey takes a key from the URL.
function takeKey() {
  const given = /^#key=(.*)$/.exec(location.hash)?.[1];
  if (given === undefined) return false;
  history.replaceState(null, "", "#/keys");
  sessionStorage.removeItem(keptItem);
  if (/^(127(\.\d+){3}|localhost|\[::1\])$/.test(location.hostname)) open(given);
  else door("Links bring keys only to a server on your own machine.");
  return true;
}

async function open(key) {
  leave();
  key = key.trim();
  if (!/^[\w.~+/-]{8,512}=*$/.test(key)) return door("This is not an API key.");
  setKey(key);
  const { viewer } = await ask("Start").catch(({ code, message }) => {
    if (code !== "UNAUTHENTICATED") door(code === "FORBIDDEN" ? "A retriever's key can only execute it. Use a key of your organization." : message);
    return {};
  });
  if (!viewer) return;
  const { id, name, apiKeyPolicy, namespaces: { results } } = viewer.organization;
  Object.assign(app, { viewer, organization: id, policy: apiKeyPolicy, name: name ?? id, places: new Map() });
  const groups = results.map((namespace) => h("optgroup", { label: isolate(namespace.name) }, addPlace(namespace),
    namespace.retrievers.results.map((retriever) => addPlace({ ...retriever, namespace }))));
  const whole = viewer.canReadOrganization || !results.length;
  app.home = whole ? { id: "" } : app.places.get(results[0].id);
  show($("#place"), whole && h("option", { value: "" }, "All namespaces"), groups);
  if ($("#door-keep").checked) sessionStorage.setItem(keptItem, key);
  $("#door").hidden = true;
  $("#app").hidden = false;
  show($(".brand span"), bdi(app.name));
  show($("#me"), viewer.userId ? who(viewer.userId) : "Your key");
  $("#me").href = hash("keys", viewer.keyId);
  await route();
  if (at.view === "keys" && !at.id) $("#find input").focus({ preventScroll: true });
}

function leave() {
  current?.controller.abort();
  current = null;
  setKey("");
  $("#door-key").value = "";
  app.viewer = null;
  asked.clear();
  show($("#main"));
  $("#app").hidden = true;
}

function door(why = "") {
  leave();
  hooks.answered();
  sessionStorage.removeItem(keptItem);
  document.title = "retrieverkeys";
  show($("#door [role=alert]"), why);
  $("#door").hidden = false;
  $("#door-key").focus();
}

hooks.refused = () => door(app.viewer ? "Your key has stopped working: it was revoked or has expired." : "This key is unknown, revoked or expired.");

hooks.answered = () => show($("#connection"));
hooks.waiting = ({ code }, seconds, now) => {
  const why = { RATE_LIMITED: "Your key has sent too many requests.", UNAVAILABLE: "The server is overloaded." }[code] ?? "No connection to the server.";
  show($("#connection"), `${why} Trying again in ${seconds} s. `, button("Try now", now));
};

// The playground reads the key from this window, so that it is in no URL.
function openPlayground({ text, variables, namespace }) {
  const fragment = new URLSearchParams({ query: text, variables: JSON.stringify(variables, null, 2) });
  window.playgroundHeaders = () => ({ ...headers(), "X-Namespace": namespace ?? app.place.namespace?.id ?? (app.place.id || [...app.places.keys()][0]) });
  window.open(new URL(`playground#${fragment}`, document.baseURI));
}

$("#forget").addEventListener("click", () => door("The key is forgotten."));
$("#graphql").addEventListener("click", () => graphqlDialog([...asked], openPlayground));
addEventListener("keydown", ({ key, target, defaultPrevented }) => {
  if (key === "Escape" && at.id && !defaultPrevented && !target.matches("input, select")) app.go("keys", "", at.params);
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
  if (!takeKey()) {
    route();
    if (kept) open(kept);
    else door();
  }
} catch {
  document.body.append(h("p.message", { role: "alert" }, "The console did not load. Reload the page."));
}
