import { Failure, ask, events } from "./api.js";
import { attempt, button, chip, h, menu, say, show } from "./dom.js";
import { bdi, count, day, exact, time, who, words } from "./format.js";

const past = (verb) => verb.replace(/e?(?= |$)/, "ed");
const verbs = {
  api_key_created: "create", api_key_updated: "change", api_key_rotated: "rotate", api_key_revoked: "revoke",
  api_key_leak_reported: "report a leak of", api_key_expiring: "announce the end of",
};

function sentence({ action, status, resourceId, resourceType, actorId, actorType, timestamp, ipAddress, userAgent, changes }, names, app, short) {
  const does = verbs[action] ?? `record “${words(action)}” for`;
  const denied = status === "denied";
  const after = (field) => changes.find((change) => change.field === field)?.after;
  const key = (id, text) => h("a", { href: app.hash("keys", id) }, text);
  const name = bdi(names.get(resourceId) || resourceId);
  const value = (text) => bdi(text === null ? "none" : /^\d{4}-\d\d-\d\dT/.test(text) ? exact(text) : text);
  const [reason, next, attempts] = ["revoke_reason", "rotated_to", "denied_attempts"].map(after);
  return h(denied ? "li.denied" : "li",
    h("p", h("b", actorType === "system" ? "The server" : [actorType === "operator" && "operator ", who(actorId)]), denied ? ` was not permitted to ${does} ` : ` ${past(does)} `,
      short ? "it" : resourceType === "API_KEY" ? key(resourceId, name) : ["a key of ", h("b", name)],
      next && [", into ", key(next, "a new key")], attempts && ` ${attempts} more times`, reason && [": “", bdi(reason), "”"]),
    action === "api_key_updated" && h("p.hint", changes.map(({ field, before, after }, i) => [i > 0 && " · ", words(field), ": ", value(before), " → ", value(after)])),
    h("p.hint", time(timestamp), ipAddress && ` · ${ipAddress}`, userAgent && [" · ", bdi(userAgent.slice(0, 60))]));
}

export function sentences(events, names, app, short) {
  const dates = events.map(({ timestamp }) => day(timestamp));
  return h("ul.sentences", events.map((event, i) => [!short && dates[i] !== dates[i - 1] && h("li.day.hint", dates[i]), sentence(event, names, app, short)]));
}

export function trailView(app, root, signal) {
  const names = new Map();
  let params = {};
  let place;
  let shown = [];
  let waiting = []; // new events that are not shown yet
  let page;
  let reading;

  const filters = h("div.bar");
  const list = h("div");
  const pill = button("", showWaiting, ".primary.pill", { hidden: true });
  let current; // the settings of the current read
  const more = button("Older events", () => attempt(list, current.signal, async () => {
    more.disabled = true;
    page = await readPage({ first: 50, after: page.pageInfo.endCursor }, current).finally(() => { more.disabled = false; });
    shown.push(...page.results);
    draw();
  }), "", { hidden: true });
  const scroll = h("div.rows", pill, list, more);
  show(root, h("section.list", filters, scroll));

  function drawFilters() {
    const change = (changes) => app.go("trail", "", { ...params, ...changes });
    show(filters,
      menu("action", { "": "Action", ...Object.fromEntries(Object.entries(verbs).map(([action, verb]) => [action, past(verb)])) }, params.action, change),
      menu("result", { "": "Result", success: "Done", denied: "Not permitted" }, params.result, change),
      params.key && chip(() => change({ key: "" }), "one key"));
  }

  const filterOf = ({ action, result, key }) => ({ ...action && { action: [action] }, ...result && { status: result }, ...key && { keyId: key } });

  async function readPage(variables, settings) {
    const { node } = await ask("Trail", { in: app.place.id || app.organization, filter: filterOf(params), ...variables }, settings);
    await readNames(node.auditEvents.results, settings);
    return node.auditEvents;
  }

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
    const settings = current = { signal: AbortSignal.any([reading.signal, signal]) };
    more.hidden = true;
    await attempt(list, settings.signal, async () => {
      page = await readPage({ first: 50 }, settings);
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
    const { id, namespace } = app.place;
    const streams = app.viewer.canReadOrganization && (namespace || !id);
    const filter = { ...filterOf(params), ...namespace && { retrieverId: id } };
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
