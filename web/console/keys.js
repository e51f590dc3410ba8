import { ask } from "./api.js";
import { createDialog, revokeDialog } from "./dialogs.js";
import { attempt, button, chip, h, menu, show } from "./dom.js";
import { bdi, isolate, nameOf, number, reach, state, time, types, who } from "./format.js";
import { keyPanel } from "./key.js";
import { filterOf, findings } from "./report.js";

const perPage = 25;
const states = { "": "Active", REVOKED: "Revoked", EXPIRED: "Expired", all: "All" };
const menus = {
  type: { "": "Type", ...types },
  used: { "": "Last use", "30d": "Not for 30 days", "90d": "Not for 90 days", never: "Never used" },
  expires: { "": "Expiry", "7d": "Within 7 days", "30d": "Within 30 days", never: "Never expires" },
};
const columns = { name: "Key", status: "State", reach: "Reaches", created: "Made", used: "Last used", expires: "Expires" };
const orders = { name: "NAME", created: "CREATED_AT", used: "LAST_USED_AT", expires: "EXPIRES_AT" };
const start = { after: "", before: "", at: "" }; // the first page

const daysFrom = (n) => Number.isNaN(n) ? undefined : new Date(Date.now() + n * 86_400_000).toISOString();

function variablesOf({ status, type, used, expires, finding, search, by, order, after, before }) {
  const days = parseInt(expires, 10);
  return {
    includeRevoked: Boolean(status),
    filter: {
      status: status === "all" ? undefined : status,
      keyType: type,
      neverUsed: used === "never" || undefined,
      unusedSince: daysFrom(-parseInt(used, 10)),
      neverExpires: expires === "never" || undefined,
      expiresAfter: days ? daysFrom(0) : undefined,
      expiresBefore: daysFrom(days),
      finding, search, createdBy: by,
    },
    orderBy: order && { field: orders[order.replace("-", "")], direction: order.startsWith("-") ? "DESC" : "ASC" },
    ...before ? { last: perPage, before: before === "end" ? undefined : before } : { first: perPage, after },
  };
}

export function keysView(app, root, signal) {
  const selected = new Set(); // ids, of all pages
  let route;
  let params = {}; // the route's
  let page; // the connection that is shown
  let reading;
  let place;

  const attentions = h("div.bar.attention", { role: "group", "aria-label": "Needs attention" });
  const filters = h("div.bar.filters");
  const chips = h("div.bar");
  const heads = h("tr");
  const body = h("tbody");
  const table = h("table.keys", { "aria-label": "Keys" }, h("thead", heads), body);
  const message = h("div");
  const rows = h("div.rows", table, message);
  const selection = h("span.bar");
  const range = h("span.range", { role: "status" });
  const pager = h("span.bar");
  const panel = h("aside.panel", { "aria-label": "Key", tabindex: -1 });
  show(root, h("section.list", attentions, filters, chips, rows, h("div.bar.foot", selection, range, pager)), panel);

  const again = () => { read(); readAttention(); };
  const shownKey = keyPanel(panel, app, () => app.go("keys", "", params), again, signal);

  const change = (changes, keepKey, replace) => app.go("keys", keepKey && route.id, { ...params, ...start, ...changes }, replace);

  function drawFilters() {
    show(filters,
      h("div.tabs", { role: "group", "aria-label": "State" }, Object.entries(states).map(([status, text]) => button(text, () => change({ status }), "", {
        "aria-pressed": String((params.status ?? "") === status),
      }))),
      Object.entries(menus).map(([name, choices]) => menu(name, choices, params[name], change)),
      [...app.places.values()].some(({ canCreate }) => canCreate) && button("New key", () => createDialog(app, again), ".primary"));
    show(chips,
      params.finding && chip(() => change({ finding: "", status: "" }), findings[params.finding]?.text ?? params.finding),
      params.by && chip(() => change({ by: "" }), "made by ", who(params.by)));
    const order = params.order ?? "-created";
    show(heads, h("th.select", pageBox()), Object.entries(columns).map(([name, text]) => {
      const descending = order === `-${name}`;
      const next = order === name ? `-${name}` : descending && name !== "created" ? "" : name;
      return h(`th.${name}`, { scope: "col", "aria-sort": order === name ? "ascending" : descending && "descending" }, orders[name] ? button(text, () => change({ order: next })) : text);
    }));
  }

  const canEnd = (key) => key.viewerCanRevoke && key.status !== "REVOKED";

  const checkbox = (label, focus, ids, on) => h("input", {
    type: "checkbox", "aria-label": label, "data-focus": focus, disabled: !ids.length, checked: on, onchange: ({ target }) => select(ids, target.checked),
  });

  function pageBox() {
    const ids = page?.results.filter(canEnd).map(({ keyId }) => keyId) ?? [];
    return checkbox("Select this page", "all", ids, ids.length > 0 && ids.every((id) => selected.has(id)));
  }

  function select(ids, on) {
    for (const id of ids) {
      if (!on) selected.delete(id);
      else if (selected.size < 500) selected.add(id);
    }
    drawRows();
  }

  function row(key) {
    const { keyId: id } = key;
    return h("tr", { "aria-current": id === route.id && "true", "data-selected": selected.has(id),
      onclick: ({ target }) => { if (!target.closest("a, input, label") && getSelection().isCollapsed) app.go("keys", id, params); } },
    h("td.select", h("label", checkbox(`Select ${isolate(nameOf(key))}`, `select ${id}`, canEnd(key) ? [id] : [], selected.has(id)))),
    h("th.name", { scope: "row" }, h("a", { href: app.hash("keys", id, params), "data-focus": id }, bdi(nameOf(key))),
      h("span.under",
        key.findings.filter((finding) => /LEAKED|BEYOND/.test(finding)).map((finding) => h(`span.mark.${findings[finding].mark}`, findings[finding].text)),
        h("code", key.keyPrefix ?? id))),
    h("td", state(key.status)),
    h("td.reach", reach(key), key.keyType !== "RETRIEVER" && h("span.under", `${types[key.keyType] ?? "Unknown"} key`)),
    h("td.created", who(key.createdBy || "unknown"), key.createdAt && h("span.under", time(key.createdAt))),
    h("td.used", time(key.lastUsedAt)),
    h(`td.expires${key.findings.includes("EXPIRES_SOON") ? ".soon" : ""}`, time(key.expiresAt)));
  }

  function drawRows() {
    const { results, total, pageInfo: { hasPreviousPage, hasNextPage, startCursor, endCursor } } = page;
    // Cursors have no position, so the URL has that of the first row, and the ends of the list correct it.
    const first = !hasPreviousPage ? Math.min(1, total) : !hasNextPage ? total - results.length + 1 : Number(params.at) || 2;
    show(body, results.map(row));
    show(heads.firstChild, pageBox());
    range.textContent = `${number(first)}–${number(first + results.length - (total ? 1 : 0))} of ${number(total)}`;
    const turn = (text, label, there, to) => button(text, () => there && page && change({ ...start, ...to }, true), ".turn", { "aria-label": label, title: label, "aria-disabled": String(!there) });
    show(pager,
      turn("«", "First page", hasPreviousPage),
      turn("‹", "Previous page", hasPreviousPage, first > perPage + 1 && { before: startCursor, at: first - perPage }),
      turn("›", "Next page", hasNextPage, { after: endCursor, at: first + results.length }),
      turn("»", "Last page", hasNextPage, { before: "end", at: total }));
    show(selection, selected.size > 0 && [
      h("span", { role: "status" }, `${number(selected.size)} selected${selected.size < 500 ? "" : ". At most 500 keys can be revoked at once."}`),
      button("Revoke …", () => revokeDialog(app, [...selected], () => { selected.clear(); again(); shownKey(route.id); }), ".danger")]);
  }

  const drawSkeletons = () => show(body, Array.from({ length: 10 }, () => h("tr.skeleton", { "aria-hidden": "true" }, [...heads.children].map(() => h("td", h("i"))))));

  async function read() {
    reading?.abort();
    reading = new AbortController();
    const either = AbortSignal.any([reading.signal, signal]);
    table.ariaBusy = "true";
    const wait = setTimeout(() => page || drawSkeletons(), 150);
    show(message);
    await attempt(message, either, async () => {
      const { node } = await ask("Keys", { in: app.place.id || app.organization, ...variablesOf(params) }, { signal: either });
      page = node.some ?? node.apiKeys;
      if (page.total && !page.results.length) return change({}, true, true); // what was on the page is gone
      drawRows();
      show(message, !page.total && h("div.message", nothing()));
    }, (failure) => {
      page = null;
      show(body);
      range.textContent = "";
      return failure.message;
    });
    clearTimeout(wait);
    if (!either.aborted) table.ariaBusy = "false";
  }

  const nothing = () => JSON.stringify(variablesOf(params).filter) !== "{}"
    ? [h("p", "No key matches."), button("Remove all filters", () => app.go("keys", "", { in: params.in ?? "" }))]
    : [h("p", "There are no active keys here."), button("Show revoked and expired keys", () => change({ status: "all" }))];

  // The numbers are about the whole organization, so a click leaves the place.
  async function readAttention() {
    if (!app.viewer.canReadOrganization) return;
    const title = app.place.id ? h("span", "In the whole organization") : h("span.hint", "Needs attention");
    if (!attentions.firstChild) show(attentions, title);
    const data = await ask("Report", {}, { signal }).catch(() => null); // the list says what is wrong
    const found = Object.entries(findings).filter(([, { field }]) => data?.organization.apiKeyReport[field] > 0);
    show(attentions, title, found.map(([finding, { text, why, mark, field }]) => {
      const on = params.finding === finding;
      return button([h("b", number(data.organization.apiKeyReport[field])), ` ${text.toLowerCase()}`],
        () => change(on ? { finding: "", status: "" } : { ...filterOf(finding), in: "" }), `.${mark}`, { "aria-pressed": String(on), title: why });
    }), data && !found.length && "nothing");
  }

  return (next) => {
    const before = route;
    route = next;
    params = Object.fromEntries(next.params);
    if (place !== app.place) {
      place = app.place;
      selected.clear();
      page = null;
    }
    root.classList.toggle("beside", route.id !== "");
    drawFilters();
    if (String(before?.params) !== String(next.params)) {
      rows.scrollTop = 0;
      again();
    } else if (page) {
      drawRows();
    }
    if (before?.id !== route.id) shownKey(route.id);
    if (before?.id && !route.id) body.querySelector(`[data-focus="${CSS.escape(before.id)}"]`)?.focus();
  };
}
