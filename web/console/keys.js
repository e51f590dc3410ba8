// The list of keys: what needs attention, filters, a table, pages. One key opens beside it.
import { Failure, ask } from "./api.js";
import { createDialog, revokeDialog } from "./dialogs.js";
import { h, say, show } from "./dom.js";
import { bdi, isolate, nameOf, number, reach, state, time, types, who } from "./format.js";
import { keyPanel } from "./key.js";
import { attention, findings } from "./report.js";

const perPage = 25;
const mostSelected = 500;
const daysFrom = (n) => new Date(Date.now() + n * 86_400_000).toISOString();

// The filters, each a parameter of the URL: its label and its choices, each with the conditions of ApiKeyFilter.
const filters = {
  type: ["Type", Object.entries(types).filter(([type]) => type !== "UNKNOWN").map(([type, text]) => [type.toLowerCase(), text, () => ({ keyType: [type] })])],
  used: ["Last use", [
    ["-30", "Not for 30 days", () => ({ unusedSince: daysFrom(-30) })],
    ["-90", "Not for 90 days", () => ({ unusedSince: daysFrom(-90) })],
    ["-365", "Not for a year", () => ({ unusedSince: daysFrom(-365) })],
    ["never", "Never used", () => ({ neverUsed: true })],
  ]],
  expires: ["Expiry", [
    ["7", "Within 7 days", () => ({ expiresAfter: daysFrom(0), expiresBefore: daysFrom(7) })],
    ["30", "Within 30 days", () => ({ expiresAfter: daysFrom(0), expiresBefore: daysFrom(30) })],
    ["90", "Within 90 days", () => ({ expiresAfter: daysFrom(0), expiresBefore: daysFrom(90) })],
    ["never", "Never expires", () => ({ neverExpires: true })],
  ]],
  finding: ["Needs attention", Object.entries(findings).map(([finding, { text }]) => [finding.toLowerCase(), text, () => ({ finding: [finding] })])],
};
const states = [["", "Active"], ["revoked", "Revoked"], ["expired", "Expired"], ["all", "All"]];
const orders = { created: "CREATED_AT", name: "NAME", used: "LAST_USED_AT", expires: "EXPIRES_AT" };
const orderNames = [["", "Newest first"], ["created", "Oldest first"], ["name", "Name"], ["-used", "Last used"], ["expires", "Expires soonest"]];
const paging = ["after", "before", "at"];

// variablesOf turns the URL's parameters into those of the operation.
function variablesOf(params) {
  const get = (name) => params.get(name) ?? "";
  const filter = {};
  for (const [name, [, choices]] of Object.entries(filters)) Object.assign(filter, choices.find(([value]) => value === get(name))?.[2]());
  if (get("search")) filter.search = get("search");
  if (get("by")) filter.createdBy = get("by");
  const status = get("status");
  if (status && status !== "all") filter.status = [status.toUpperCase()];
  const order = orders[get("order").replace("-", "")];
  return {
    includeRevoked: status !== "",
    filter,
    ...order && { orderBy: { field: order, direction: get("order").startsWith("-") ? "DESC" : "ASC" } },
    ...get("before") === "end" ? { last: perPage } : get("before") ? { last: perPage, before: get("before") } : { first: perPage, ...get("after") && { after: get("after") } },
  };
}

export function keysView(app, root, signal) {
  const selected = new Map(); // keys by id, on all pages
  let params = new URLSearchParams();
  let open = ""; // the id of the key that is shown beside the list
  let page = null; // the connection that is shown
  let reading; // the controller of the current read
  let shownFor = "";

  const maySelect = app.can("DELETE");
  const attentions = h("div.attention", { role: "group", "aria-label": "Needs attention" });
  const tabs = h("div.tabs", { role: "group", "aria-label": "State" });
  const controls = h("div.controls");
  const chips = h("div.chips");
  const body = h("tbody", { role: "rowgroup" });
  const heads = h("tr", { role: "row" });
  const table = h("table.keys", { role: "table", "aria-label": "Keys", "aria-busy": "true" }, h("thead", { role: "rowgroup" }, heads), body);
  const rows = h("div.rows", null, table);
  const message = h("div.message", { hidden: true });
  const range = h("span.range", { role: "status" });
  const selection = h("span.selection");
  const turn = (name, label, icon) => h("button.turn", { type: "button", "aria-label": label, title: label, disabled: true, onclick: () => turnTo(name) }, icon);
  const pager = { first: turn("first", "First page", "«"), previous: turn("previous", "Previous page", "‹"), next: turn("next", "Next page", "›"), last: turn("last", "Last page", "»") };
  const create = h("button.primary", { type: "button", "data-do": "new", hidden: true, onclick: newKey }, "New key");
  const list = h("section.list", { "aria-label": "Keys" }, attentions,
    h("div.filters", null, tabs, controls, create), chips, rows, message,
    h("div.foot", null, selection, h("span.pager", null, range, Object.values(pager))));
  const panel = h("aside.panel", { "aria-label": "Key", hidden: true, tabindex: -1 });
  root.append(list, panel);
  const shownKey = keyPanel(panel, app, { close: () => app.go("keys", "", params), changed: () => { read(true); readReport(); } }, signal);

  // change goes to other parameters, from the first page.
  function change(changes, keepPage = false) {
    const next = new URLSearchParams(params);
    for (const name of keepPage ? [] : paging) next.delete(name);
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    app.go("keys", keepPage ? open : "", next);
  }

  function turnTo(name) {
    const { startCursor, endCursor } = page.pageInfo;
    const from = position();
    change({
      first: { after: "", before: "", at: "" },
      previous: from - perPage <= 1 ? { after: "", before: "", at: "" } : { after: "", before: startCursor, at: from - perPage },
      next: { after: endCursor, before: "", at: from + page.results.length },
      last: { after: "", before: "end", at: Math.max(1, page.total - perPage + 1) },
    }[name], true);
    rows.scrollTop = 0;
  }

  // position is that of the page's first row. Cursors have none, so the URL carries it; the ends of the list correct it.
  function position() {
    if (!page.pageInfo.hasPreviousPage) return 1;
    if (!page.pageInfo.hasNextPage) return page.total - page.results.length + 1;
    return Math.max(2, Number(params.get("at")) || 2);
  }

  function newKey() {
    const retriever = app.place.kind === "retriever" && app.place.canCreate ? app.place : null;
    createDialog(app, retriever, () => { read(true); readReport(); });
  }

  function drawFilters() {
    const get = (name) => params.get(name) ?? "";
    show(tabs, states.map(([value, text]) => h("button", { type: "button", "aria-pressed": String(get("status") === value), "data-focus": `state ${value}`, onclick: () => change({ status: value }) }, text)));
    const choose = (name, label, choices) => h("select", { "aria-label": label, "data-focus": name, "data-set": get(name) !== "", onchange: (event) => change({ [name]: event.target.value }) },
      choices.map(([value, text]) => h("option", { value, selected: value === get(name) }, text)));
    show(controls,
      Object.entries(filters).filter(([name]) => name !== "finding").map(([name, [label, choices]]) => choose(name, label, [["", label], ...choices])),
      choose("order", "Order", orderNames.some(([value]) => value === get("order")) ? orderNames : [...orderNames, [get("order"), "Order of a column"]]));
    const chip = (name, ...text) => get(name) && h("span.chip", null, text, h("button", { type: "button", "aria-label": `Remove the filter ${name}`, onclick: () => change({ [name]: "" }) }, "×"));
    show(chips,
      chip("search", "contains “", bdi(get("search")), "”"),
      chip("by", "made by ", who(get("by"))),
      chip("finding", filters.finding[1].find(([value]) => value === get("finding"))?.[1]));
    const column = (text, name, initial = "") => {
      if (!name) return h("th", { role: "columnheader", scope: "col" }, text);
      const current = get("order") || "-created";
      const mine = current.replace("-", "") === name;
      const next = mine && current === `${initial}${name}` ? (initial ? name : `-${name}`) : `${initial}${name}`;
      return h("th", { role: "columnheader", scope: "col", "aria-sort": mine ? (current.startsWith("-") ? "descending" : "ascending") : null },
        h("button", { type: "button", "data-focus": `order ${name}`, onclick: () => change({ order: next === "-created" ? "" : next }) }, text));
    };
    show(heads,
      maySelect && h("th.select", { role: "columnheader", scope: "col" }, allBox()),
      column("Key", "name"), column("State"), column("Reaches"), column("Made", "created", "-"), column("Last used", "used", "-"), column("Expires", "expires"));
  }

  const mayEnd = (key) => key.viewerCanRevoke && key.status !== "REVOKED";

  function allBox() {
    const can = page?.results.filter(mayEnd) ?? [];
    const chosen = can.filter(({ keyId }) => selected.has(keyId)).length;
    return h("input", {
      type: "checkbox", "aria-label": "Select all on this page", "data-focus": "all", disabled: can.length === 0, checked: can.length > 0 && chosen === can.length, indeterminate: chosen > 0 && chosen < can.length,
      onchange: ({ target }) => { for (const key of can) select(key, target.checked); drawRows(); },
    });
  }

  function select(key, on) {
    if (!on) selected.delete(key.keyId);
    else if (selected.size < mostSelected) selected.set(key.keyId, key);
    else say(`At most ${mostSelected} keys can be selected.`);
  }

  function row(key) {
    const label = isolate(nameOf(key));
    const box = h("input", {
      type: "checkbox", "aria-label": `Select ${label}`, "data-focus": `select ${key.keyId}`, checked: selected.has(key.keyId), disabled: !mayEnd(key),
      onchange: () => { select(key, box.checked); drawRows(); },
    });
    const soon = key.status === "ACTIVE" && key.expiresAt && new Date(key.expiresAt) - Date.now() < (app.policy?.expiryNoticeSeconds ?? 14 * 86_400) * 1000;
    const cell = (name, label, ...content) => h(`td.${name}`, { role: "cell", "data-label": label }, content);
    return h("tr", {
      role: "row", "aria-current": key.keyId === open ? "true" : null, "data-selected": selected.has(key.keyId),
      onclick: ({ target }) => { if (!target.closest("a, button, input, .select") && getSelection().isCollapsed) app.go("keys", key.keyId, params); },
    },
    maySelect && h("td.select", { role: "cell" }, h("label", null, box)),
    h("th.name", { role: "rowheader", scope: "row" },
      h("a.open", { href: app.hash("keys", key.keyId, params), "data-focus": key.keyId }, bdi(nameOf(key))),
      h("span.under", null, h("code", null, key.keyPrefix ?? key.keyId), key.findings?.filter((f) => findings[f]?.mark).map((f) => h(`span.mark.${findings[f].mark}`, null, findings[f].text)))),
    cell("status", "State", state(key.status)),
    cell("reach", "Reaches", reach(key), key.keyType !== "RETRIEVER" && h("span.under", null, `${types[key.keyType]} key`)),
    cell("made", "Made", key.createdBy ? who(key.createdBy) : h("span.none", null, "unknown"), h("span.under", null, time(key.createdAt, ""))),
    cell("used", "Last used", time(key.lastUsedAt)),
    cell(soon ? "expires.soon" : "expires", "Expires", key.status === "REVOKED" && !key.expiresAt ? h("span.none", null, "–") : time(key.expiresAt)));
  }

  function drawRows() {
    const from = page.results.length ? position() : 0;
    show(body, page.results.map(row));
    const all = heads.querySelector(".select");
    if (all) show(all, allBox());
    range.textContent = page.results.length ? `${number(from)}–${number(from + page.results.length - 1)} of ${number(page.total)}` : "0 keys";
    const { hasNextPage, hasPreviousPage } = page.pageInfo;
    const enable = (button, on) => { button.ariaDisabled = String(!on); button.disabled = !on && document.activeElement !== button; };
    enable(pager.first, hasPreviousPage);
    enable(pager.previous, hasPreviousPage);
    enable(pager.next, hasNextPage);
    enable(pager.last, hasNextPage);
    show(selection, selected.size > 0 && [
      h("span", { role: "status" }, `${number(selected.size)} selected`),
      h("button.danger", { type: "button", onclick: () => revokeDialog(app, [...selected.keys()], () => { selected.clear(); read(true); readReport(); shownKey.again(); }) }, "Revoke …"),
      h("button", { type: "button", onclick: () => { selected.clear(); drawRows(); } }, "Clear"),
    ]);
  }

  // Skeletons have the height of rows, so that nothing moves when the rows arrive. They show only if that takes a while.
  function drawSkeleton() {
    show(body, Array.from({ length: 8 }, () => h("tr.skeleton", { "aria-hidden": "true" }, Array.from({ length: heads.children.length }, () => h("td", null, h("i"))))));
  }

  function tell(...content) {
    message.hidden = content.length === 0;
    rows.hidden = !message.hidden;
    show(message, ...content);
  }

  async function read(quiet = false) {
    reading?.abort();
    reading = new AbortController();
    const mine = reading;
    const { kind, id } = app.place;
    const variables = variablesOf(params);
    table.ariaBusy = "true";
    const wait = setTimeout(() => { if (!page) { tell(); drawSkeleton(); } }, 150);
    try {
      const name = { organization: "OrganizationKeys", namespace: "NamespaceKeys", retriever: "RetrieverKeys" }[kind];
      const data = await ask(name, kind === "organization" ? variables : { id, ...variables }, { signal: AbortSignal.any([mine.signal, signal]) });
      page = (data.organization ?? data.namespace ?? data.node).apiKeys;
      if (!page.results.length && page.total && !quiet && params.get("at")) return change({}); // the page is gone
      drawRows();
      tell(...page.results.length ? [] : nothing());
      if (!quiet) say(`${range.textContent}`);
    } catch (failure) {
      if (mine.signal.aborted || signal.aborted) return;
      if (!(failure instanceof Failure)) throw failure;
      page = null;
      range.textContent = "";
      const retry = h("button", { type: "button", onclick: () => read() }, "Try again");
      tell(h("p", { role: "alert" }, failure.message), h("p", null,
        failure.field === "orderBy" || /order/i.test(failure.message) ? h("button", { type: "button", onclick: () => change({ order: "" }) }, "Order by creation") : retry),
      failure.requestId && h("p.hint", null, "Request ", h("code", null, failure.requestId)));
    } finally {
      clearTimeout(wait);
      if (mine === reading) table.ariaBusy = "false";
    }
  }

  // nothing says why the list is empty, and what to do next.
  function nothing() {
    const filtered = [...params.keys()].some((name) => !["in", "order", ...paging].includes(name));
    if (filtered) {
      return [h("p", null, params.get("finding") ? "Nothing needs attention here." : "No key matches."), h("p", null, h("button", { type: "button", onclick: () => app.go("keys", "", new URLSearchParams([["in", params.get("in") ?? ""]])) }, "Remove all filters"))];
    }
    return [h("p", null, "There are no active keys here. A key lets a website, an app or a partner execute a retriever."),
      h("p", null, !create.hidden && h("button.primary", { type: "button", onclick: newKey }, "Create the first key"), " ", h("button", { type: "button", onclick: () => change({ status: "all" }) }, "Show revoked and expired keys"))];
  }

  async function readReport() {
    const report = await attention(app, signal);
    if (!report) return;
    show(attentions, h("span.lead", null, "Needs attention"), report.map(({ finding, total }) => {
      const value = finding.toLowerCase();
      const on = params.get("finding") === value;
      return h(`button.${findings[finding].mark ?? "calm"}`, {
        type: "button", "aria-pressed": String(on), "data-focus": value, title: findings[finding].why,
        onclick: () => change({ finding: on ? "" : value, status: on || finding !== "LEAKED" ? "" : "all", search: "" }),
      }, h("b", null, number(total)), ` ${findings[finding].text.toLowerCase()}`);
    }), !report.length && h("span.none", null, "nothing"));
  }

  // Creating is offered where it would work for at least one retriever.
  async function mayCreate() {
    try {
      const { organization } = await ask("Places", {}, { signal, quiet: true });
      create.hidden = !organization.namespaces.results.some(({ retrievers }) => retrievers.results.some((retriever) => retriever.viewerCanCreateApiKey));
    } catch (failure) {
      if (!(failure instanceof Failure) && !signal.aborted) throw failure;
    }
  }

  document.addEventListener("row", ({ detail }) => {
    const links = [...body.querySelectorAll("a.open")];
    const focused = document.activeElement.closest?.("tr");
    const index = links.findIndex((link) => focused?.contains(link));
    if (detail === "x") focused?.querySelector("input")?.click();
    else links[index < 0 ? 0 : Math.min(links.length - 1, Math.max(0, index + (detail === "j" ? 1 : -1)))]?.focus();
  }, { signal });

  mayCreate();
  return (route, { again }) => {
    const key = JSON.stringify([app.place.id, [...route.params].filter(([name]) => name !== "at")]);
    const moved = key !== shownFor;
    if (moved && shownFor && JSON.parse(shownFor)[0] !== app.place.id) { selected.clear(); page = null; }
    shownFor = key;
    params = route.params;
    const before = open;
    open = route.id;
    root.classList.toggle("beside", open !== "");
    panel.hidden = open === "";
    if (open !== before || again) shownKey.update(open);
    drawFilters();
    if (moved || again) {
      read();
      readReport();
    } else {
      if (page) drawRows();
    }
    if (before && !open) body.querySelector(`[data-focus="${CSS.escape(before)}"]`)?.focus();
  };
}
