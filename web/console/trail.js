// The trail: what happened, as sentences, newest first. New events wait above until they are asked for.
import { Failure, ask } from "./api.js";
import { h, say, show } from "./dom.js";
import { bdi, count, day, exact, number, time, who, words } from "./format.js";

const perPage = 50;
const verbs = {
  api_key_created: ["created", "create"], api_key_updated: ["changed", "change"], api_key_rotated: ["rotated", "rotate"], api_key_revoked: ["revoked", "revoke"],
  api_key_leak_reported: ["reported a leak of", "report a leak of"], api_key_expiring: ["noted the coming end of", "note the end of"],
};
const quiet = new Set(["name", "description", "status", "revoked_at", "revoked_by", "rotated_to", "leaked_at"]);

const actor = ({ actorId, actorType }) => actorType === "system" ? "The server" : [actorType === "operator" && "operator ", who(actorId)];

// sentence says who did what to which key, why, and from where. names has the names of keys and retrievers by id.
function sentence(event, names, app) {
  const { action, status, resourceId, resourceType, changes } = event;
  const [did, does] = verbs[action] ?? [`did “${words(action)}” to`, `do “${words(action)}” to`];
  const denied = status === "denied";
  const name = names.get(resourceId)?.name;
  const label = bdi(name || resourceId);
  const what = resourceType === "API_KEY" ? h("a", { href: app.hash("keys", resourceId, new URLSearchParams()) }, label) : [denied ? "a key of " : "", h("b", null, label)];
  const after = (field) => changes.find((change) => change.field === field)?.after;
  const reason = after("revoke_reason") ?? after("reason");
  const attempts = after("denied_attempts");
  const value = (text) => text === null ? "none" : /^\d{4}-\d\d-\d\dT/.test(text) ? exact(text) : text;
  return h(denied ? "li.denied" : "li", null,
    h("p", null, h("b", null, actor(event)), denied ? ` was not permitted to ${does} ` : ` ${did} `, what,
      reason && [": “", bdi(reason), "”"], attempts && ` (${attempts} times more)`, after("rotated_to") && [" into ", h("a", { href: app.hash("keys", after("rotated_to"), new URLSearchParams()) }, after("rotated_to"))]),
    action === "api_key_updated" && changes.length > 0 && h("p.changes", null, changes.map(({ field, before, after }, i) => [i > 0 && " · ", words(field), " ", bdi(value(before)), " → ", bdi(value(after))])),
    h("p.hint", null, time(event.timestamp), event.ipAddress && [" · ", event.ipAddress], event.userAgent && [" · ", h("bdi", { title: event.userAgent }, event.userAgent.slice(0, 40))]));
}

export function sentences(events, names, app) {
  const days = Map.groupBy ? Map.groupBy(events, ({ timestamp }) => day(timestamp)) : events.reduce((all, event) => all.set(day(event.timestamp), [...all.get(day(event.timestamp)) ?? [], event]), new Map());
  return h("div.sentences", null, [...days].map(([date, list]) => [h("h4", null, date), h("ul", null, list.map((event) => sentence(event, names, app)))]));
}

export function trailView(app, root, signal) {
  const names = new Map();
  let events = [];
  let waiting = []; // new events that are not shown yet
  let page = null;
  let params = new URLSearchParams();
  let reading = new AbortController();

  const controls = h("div.filters");
  const pill = h("button.pill", { type: "button", hidden: true, onclick: showWaiting });
  const live = h("span.live", { role: "status" });
  const list = h("div.trail-list");
  const more = h("button", { type: "button", hidden: true, onclick: older }, "Older events");
  root.append(h("section.trail", { "aria-label": "Trail" }, h("div.filters", null, controls, live), h("div.scroll", null, h("div.pill-place", null, pill), list, h("p.more", null, more))));

  const filterOf = () => {
    const filter = {};
    if (params.get("action")) filter.action = [params.get("action")];
    if (params.get("result")) filter.status = params.get("result");
    if (params.get("key")) filter.keyId = params.get("key");
    if (params.get("actor")) filter.actorId = params.get("actor");
    return filter;
  };

  function change(changes) {
    const next = new URLSearchParams(params);
    for (const [name, value] of Object.entries(changes)) next.set(name, value);
    app.go("trail", "", next);
  }

  function drawControls() {
    const get = (name) => params.get(name) ?? "";
    const choose = (name, label, choices) => h("select", { "aria-label": label, "data-focus": name, "data-set": get(name) !== "", onchange: ({ target }) => change({ [name]: target.value }) },
      [["", label], ...choices].map(([value, text]) => h("option", { value, selected: value === get(name) }, text)));
    show(controls,
      choose("action", "Action", Object.entries(verbs).map(([action, [did]]) => [action, did.replace(/ of$/, "")])),
      choose("result", "Result", [["success", "Done"], ["denied", "Not permitted"]]),
      ["key", "actor"].map((name) => get(name) && h("span.chip", null, `${name} `, bdi(names.get(get(name))?.name ?? get(name)), h("button", { type: "button", "aria-label": `Remove the filter ${name}`, onclick: () => change({ [name]: "" }) }, "×"))));
  }

  // readNames finds out what the events are about. A name that cannot be read stays an id.
  async function readNames(list, options) {
    const unknown = [...new Set(list.map(({ resourceId }) => resourceId))].filter((id) => !names.has(id)).slice(0, 100);
    if (!unknown.length) return;
    const { nodes } = await ask("Names", { ids: unknown }, { ...options, quiet: true });
    for (const [i, id] of unknown.entries()) names.set(id, { name: nodes[i]?.name });
  }

  function draw() {
    show(list, events.length ? sentences(events, names, app) : h("div.message", null, h("p", null, "Nothing is recorded here. Every change of a key, and every attempt that was not permitted, appears at once.")));
    more.hidden = !page?.pageInfo.hasNextPage;
    pill.hidden = waiting.length === 0;
    pill.textContent = `${number(waiting.length)} new`;
  }

  async function readPage(variables, options) {
    const { kind, id } = app.place;
    const name = { organization: "OrganizationTrail", namespace: "NamespaceTrail", retriever: "RetrieverTrail" }[kind];
    const data = await ask(name, { ...kind !== "organization" && { id }, filter: filterOf(), ...variables }, options);
    const connection = (data.organization ?? data.namespace ?? data.node).auditEvents;
    await readNames(connection.results, options);
    return connection;
  }

  async function read() {
    reading.abort();
    reading = new AbortController();
    const options = { signal: AbortSignal.any([reading.signal, signal]) };
    try {
      page = await readPage({ first: perPage }, options);
      events = page.results;
      waiting = [];
      draw();
      say(count(page.total, "event"));
      follow(options);
    } catch (failure) {
      if (options.signal.aborted) return;
      if (!(failure instanceof Failure)) throw failure;
      more.hidden = true;
      show(list, h("div.message", null, h("p", { role: "alert" }, failure.code === "FORBIDDEN" ? "Your key may not read the trail: it needs the permission admin." : failure.message),
        failure.code !== "FORBIDDEN" && h("p", null, h("button", { type: "button", onclick: read }, "Try again"))));
    }
  }

  async function older() {
    more.disabled = true;
    try {
      page = await readPage({ first: perPage, after: page.pageInfo.endCursor }, { signal });
      events = [...events, ...page.results];
      draw();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      say(failure.message);
    } finally {
      more.disabled = false;
    }
  }

  function showWaiting() {
    events = [...waiting, ...events];
    waiting = [];
    draw();
    root.querySelector(".scroll").scrollTop = 0;
    list.querySelector("a")?.focus({ preventScroll: true });
  }

  // arrived takes new events, newest first. They wait if they would move what is read.
  async function arrived(list_, options) {
    const known = new Set([...waiting, ...events].map(({ id }) => id));
    const fresh = list_.filter(({ id }) => !known.has(id));
    if (!fresh.length) return;
    await readNames(fresh, options);
    waiting = [...fresh, ...waiting];
    const scroll = root.querySelector(".scroll");
    if (scroll.scrollTop === 0 && !list.contains(document.activeElement)) showWaitingQuietly();
    else draw();
    say(`${count(fresh.length, "new event")}.`);
  }

  function showWaitingQuietly() {
    events = [...waiting, ...events];
    waiting = [];
    draw();
  }

  // follow asks for new events every few seconds while the page is visible.
  async function follow(options) {
    live.textContent = "Live";
    while (!options.signal.aborted) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, 4000);
        options.signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
      });
      if (options.signal.aborted || document.hidden) continue;
      try {
        const { results } = await readPage({ first: 20 }, { ...options, quiet: true });
        await arrived(results, options);
      } catch (failure) {
        if (!(failure instanceof Failure) && !options.signal.aborted) throw failure;
      }
    }
  }

  return (route, { again }) => {
    const moved = again || String(route.params) !== String(params) || !page;
    params = route.params;
    drawControls();
    if (moved) read();
  };
}
