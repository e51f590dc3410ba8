// The trail: what happened, as sentences, newest first. New events wait above while older ones are read.
import { Failure, ask, events } from "./api.js";
import { attempt, button, h, menu, put, say, show } from "./dom.js";
import { bdi, count, day, exact, time, who, words } from "./format.js";

const perPage = 50;
const verbs = {
  api_key_created: ["created", "create"], api_key_updated: ["changed", "change"], api_key_rotated: ["rotated", "rotate"], api_key_revoked: ["revoked", "revoke"],
  api_key_leak_reported: ["reported a leak of", "report a leak of"], api_key_expiring: ["announced the end of", ""],
};

// sentence says who did what to which key, why, and from where. names has the names of keys and retrievers by id.
function sentence({ action, status, resourceId, resourceType, actorId, actorType, timestamp, ipAddress, userAgent, changes }, names, app, short) {
  const [did, does] = verbs[action] ?? [words(action), words(action)];
  const denied = status === "denied";
  const after = (field) => changes.find((change) => change.field === field)?.after;
  const key = (id, text) => h("a", { href: app.hash("keys", id) }, text);
  const name = bdi(names.get(resourceId) || resourceId);
  const value = (text) => bdi(text === null ? "none" : /^\d{4}-\d\d-\d\dT/.test(text) ? exact(text) : text);
  const [reason, next, attempts] = ["revoke_reason", "rotated_to", "denied_attempts"].map(after);
  return h(denied ? "li.denied" : "li",
    h("p", h("b", actorType === "system" ? "The server" : [actorType === "operator" && "operator ", who(actorId)]), denied ? ` was not permitted to ${does} ` : ` ${did} `,
      short ? "it" : resourceType === "API_KEY" ? key(resourceId, name) : ["a key of ", h("b", name)],
      next && [", into ", key(next, "a new key")], attempts && ` ${attempts} more times`, reason && [": “", bdi(reason), "”"]),
    action === "api_key_updated" && h("p.under", changes.map(({ field, before, after }, i) => [i > 0 && " · ", words(field), ": ", value(before), " → ", value(after)])),
    h("p.hint", time(timestamp), ipAddress && ` · ${ipAddress}`, userAgent && [" · ", bdi(userAgent.slice(0, 60))]));
}

export function sentences(events, names, app, short) {
  const list = h("ul.sentences");
  let last;
  for (const event of events) {
    const date = day(event.timestamp);
    if (date !== last && !short) put(list, h("li.day", date));
    last = date;
    put(list, sentence(event, names, app, short));
  }
  return list;
}

export function trailView(app, root, signal) {
  const names = new Map();
  let params;
  let place;
  let shown = []; // the events that are shown
  let waiting = []; // new events that are not shown yet
  let page;
  let reading;

  const filters = h("div.filters");
  const list = h("div");
  const pill = button("", showWaiting, ".pill", { hidden: true });
  const more = button("Older events", () => attempt(list, signal, async () => {
    page = await readPage({ first: perPage, after: page.pageInfo.endCursor }, { signal });
    shown.push(...page.results);
    draw();
  }), "", { hidden: true });
  const scroll = h("div.scroll", pill, list, h("p", more));
  show(root, h("section.list", { "aria-label": "Trail" }, filters, scroll));

  function drawFilters() {
    const change = (changes) => app.go("trail", "", { ...params, ...changes });
    show(filters,
      menu("Action", "action", { "": "Action", ...Object.fromEntries(Object.entries(verbs).map(([action, [did]]) => [action, did.replace(/ of$/, "")])) }, params.action, change),
      menu("Result", "result", { "": "Result", success: "Done", denied: "Not permitted" }, params.result, change),
      params.key && h("span.chip", "one key", button("×", () => change({ key: "" }), "", { "aria-label": "Remove this filter" })));
  }

  const filterOf = () => ({ ...params.action && { action: [params.action] }, ...params.result && { status: params.result }, ...params.key && { keyId: params.key } });

  async function readPage(variables, settings) {
    const { id } = app.place;
    const data = await ask(id ? "PlaceTrail" : "OrganizationTrail", { ...id && { id }, filter: filterOf(), ...variables }, settings);
    const { auditEvents } = data.organization ?? data.node;
    await readNames(auditEvents.results, settings);
    return auditEvents;
  }

  // readNames finds the names of what events are about. What has none keeps its id.
  async function readNames(events, settings) {
    const ids = [...new Set(events.map(({ resourceId }) => resourceId))].filter((id) => !names.has(id));
    if (!ids.length) return;
    const { nodes } = await ask("Names", { ids }, settings);
    ids.forEach((id, i) => names.set(id, nodes[i]?.name));
  }

  function draw() {
    show(list, shown.length ? sentences(shown, names, app) : h("p.message", "Nothing is recorded here."));
    more.hidden = !page.pageInfo.hasNextPage;
    pill.hidden = !waiting.length;
    pill.textContent = `${waiting.length} new`;
  }

  function showWaiting() {
    shown = [...waiting, ...shown];
    waiting = [];
    draw();
    scroll.scrollTop = 0;
  }

  async function read() {
    reading?.abort();
    reading = new AbortController();
    const settings = { signal: AbortSignal.any([reading.signal, signal]) };
    more.hidden = true;
    await attempt(list, settings.signal, async () => {
      page = await readPage({ first: perPage }, settings);
      shown = page.results;
      waiting = [];
      draw();
      follow(settings);
    }, ({ code, message }) => code === "FORBIDDEN" ? "Your key may not read the trail: it needs the permission admin." : message);
  }

  // arrived takes new events, newest first. They wait if the list is scrolled or used, because nothing may move what is read.
  async function arrived(some, settings) {
    const known = new Set([...waiting, ...shown].map(({ id }) => id));
    const fresh = some.filter(({ id }) => !known.has(id));
    if (!fresh.length) return;
    await readNames(fresh, settings);
    waiting = [...fresh, ...waiting];
    if (scroll.scrollTop || list.contains(document.activeElement)) draw();
    else showWaiting();
    say(`${count(fresh.length, "new event")}.`);
  }

  // follow takes events as they happen. It reads the newest whenever a stream begins, and every few seconds where there is none.
  async function follow(settings) {
    const { kind, id } = app.place;
    const streams = app.viewer.canReadOrganization && kind !== "namespace";
    const filter = { ...filterOf(), ...kind === "retriever" && { retrieverId: id } };
    while (!settings.signal.aborted) {
      try {
        if (!document.hidden) for await (const data of streams ? events("Live", { filter }, settings) : [null]) {
          await arrived(data ? [data.auditEventAdded] : (await readPage({ first: 20 }, settings)).results, settings);
        }
      } catch (failure) {
        if (!(failure instanceof Failure) && !settings.signal.aborted) throw failure;
      }
      await new Promise((resolve) => setTimeout(resolve, 4000));
    }
  }

  return (route) => {
    const before = String(new URLSearchParams(params));
    params = Object.fromEntries(route.params);
    drawFilters();
    if (!page || place !== app.place || before !== String(route.params)) read();
    place = app.place;
  };
}
