// The list of keys: what needs attention, filters, a table, pages. One key opens beside it.
import { ask } from "./api.js";
import { createDialog, revokeDialog } from "./dialogs.js";
import { attempt, button, h, menu, say, show } from "./dom.js";
import { bdi, isolate, nameOf, number, reach, state, time, types, who } from "./format.js";
import { keyPanel } from "./key.js";
import { attention, findings } from "./report.js";

const perPage = 25;
const daysFrom = (n) => new Date(Date.now() + n * 86_400_000).toISOString();

const states = { "": "Active", REVOKED: "Revoked", EXPIRED: "Expired", all: "All" };
const menus = {
  type: ["Type", { "": "Type", ...types }],
  used: ["Last use", { "": "Last use", "30d": "Not for 30 days", "90d": "Not for 90 days", "365d": "Not for a year", never: "Never used" }],
  expires: ["Expiry", { "": "Expiry", "7d": "Within 7 days", "30d": "Within 30 days", "90d": "Within 90 days", never: "Never expires" }],
  order: ["Order", {
    "": "Newest first", created: "Oldest first", name: "Name", "-name": "Name, Z to A", "-used": "Used last", used: "Unused longest",
    expires: "Expires first", "-expires": "Expires last",
  }],
};
const orders = { created: "CREATED_AT", name: "NAME", used: "LAST_USED_AT", expires: "EXPIRES_AT" };
const start = { after: "", before: "", at: "" }; // the first page

// variablesOf turns the URL's parameters into those of the operation.
function variablesOf({ status = "", type, used, expires, finding, search, by, order, after, before }) {
  const days = parseInt(expires, 10);
  return {
    includeRevoked: status !== "",
    filter: {
      ...status && status !== "all" && { status: [status] },
      ...type && { keyType: [type] },
      ...used && (used === "never" ? { neverUsed: true } : { unusedSince: daysFrom(-parseInt(used, 10)) }),
      ...expires && (days ? { expiresAfter: daysFrom(0), expiresBefore: daysFrom(days) } : { neverExpires: true }),
      ...finding && { finding: [finding] },
      ...search && { search },
      ...by && { createdBy: by },
    },
    ...order && { orderBy: { field: orders[order.replace("-", "")], direction: order.startsWith("-") ? "DESC" : "ASC" } },
    ...before ? { last: perPage, ...before !== "end" && { before } } : { first: perPage, ...after && { after } },
  };
}

export function keysView(app, root, signal) {
  const selected = new Set(); // ids, on all pages
  let route; // {id, params}
  let params = {}; // the same as an object
  let page; // the connection that is shown
  let reading; // the controller of the current read
  let place;

  const attentions = h("div.attention", { role: "group", "aria-label": "Needs attention" });
  const filters = h("div.filters");
  const chips = h("div.chips");
  const heads = h("tr");
  const body = h("tbody");
  const table = h("table.keys", { "aria-label": "Keys" }, h("thead", heads), body);
  const rows = h("div.rows", table);
  const message = h("div", { hidden: true });
  const selection = h("span.selection");
  const range = h("span.range", { role: "status" });
  const turn = (text, label, to) => button(text, () => {
    if (page && turner[label].ariaDisabled === "false") change(to(), true);
  }, ".turn", { "aria-label": label, title: label, "aria-disabled": "true" });
  const turner = {};
  for (const [label, text, to] of [
    ["First page", "«", () => start],
    ["Previous page", "‹", () => first() <= perPage + 1 ? start : { ...start, before: page.pageInfo.startCursor, at: first() - perPage }],
    ["Next page", "›", () => ({ ...start, after: page.pageInfo.endCursor, at: first() + page.results.length })],
    ["Last page", "»", () => ({ ...start, before: "end", at: page.total })],
  ]) turner[label] = turn(text, label, to);
  const panel = h("aside.panel", { "aria-label": "Key", tabindex: -1 });
  show(root, h("section.list", { "aria-label": "Keys" }, attentions, filters, chips, rows, message,
    h("div.foot", selection, h("span.pager", range, Object.values(turner)))), panel);

  const again = () => { read(); readAttention(); };
  const shownKey = keyPanel(panel, app, () => app.go("keys", "", params), again, signal);

  // change goes to other parameters.
  const change = (changes, keepKey) => app.go("keys", keepKey && route.id, { ...params, ...start, ...changes });

  // first is the position of the page's first row. Cursors have none, so the URL carries it, and the ends of the list correct it.
  function first() {
    const { hasNextPage, hasPreviousPage } = page.pageInfo;
    return !hasPreviousPage ? Math.min(1, page.total) : !hasNextPage ? page.total - page.results.length + 1 : Number(params.at) || 2;
  }

  function newKey() {
    createDialog(app, app.place, again);
  }

  function drawFilters() {
    show(filters,
      h("div.tabs", { role: "group", "aria-label": "State" }, Object.entries(states).map(([status, text]) => button(text, () => change({ status }), "", {
        "aria-pressed": String((params.status ?? "") === status), "data-focus": `state ${status}`,
      }))),
      [...app.places.values()].some(({ canCreate }) => canCreate) && button("New key", newKey, ".primary", { id: "new", "data-focus": "new" }),
      h("div.controls", Object.entries(menus).map(([name, [label, choices]]) => menu(label, name, choices, params[name], change))));
    const chip = (name, ...text) => params[name] && h("span.chip", text, button("×", () => change({ [name]: "" }), "", { "aria-label": "Remove this filter" }));
    show(chips, chip("search", "contains “", bdi(params.search), "”"), chip("by", "made by ", who(params.by ?? "")), chip("finding", findings[params.finding]?.text));
    const column = (text, name) => {
      const current = params.order || "-created";
      const mine = current.replace("-", "") === name;
      const next = mine && !current.startsWith("-") ? `-${name}` : name;
      return h("th", { scope: "col", "aria-sort": mine && (current === name ? "ascending" : "descending") },
        button(text, () => change({ order: next === "-created" ? "" : next }), "", { "data-focus": `order ${name}` }));
    };
    show(heads, h("th.select", { scope: "col" }, pageBox()), column("Key", "name"), h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Reaches"),
      column("Made", "created"), column("Last used", "used"), column("Expires", "expires"));
  }

  const canEnd = (key) => key.viewerCanRevoke && key.status !== "REVOKED";

  function pageBox() {
    const ids = page?.results.filter(canEnd).map(({ keyId }) => keyId) ?? [];
    const chosen = ids.filter((id) => selected.has(id)).length;
    return h("input", {
      type: "checkbox", "aria-label": "Select this page", "data-focus": "all", disabled: !ids.length,
      checked: chosen && chosen === ids.length, indeterminate: chosen && chosen < ids.length,
      onchange: ({ target }) => select(ids, target.checked),
    });
  }

  function select(ids, on) {
    for (const id of ids) {
      if (!on) selected.delete(id);
      else if (selected.size < 500) selected.add(id);
      else say("At most 500 keys can be revoked at once.");
    }
    drawRows();
  }

  function row(key) {
    const { keyId: id } = key;
    return h("tr", { "aria-current": id === route.id && "true", "data-selected": selected.has(id),
      onclick: ({ target }) => { if (!target.closest("a, input, label") && getSelection().isCollapsed) app.go("keys", id, params); } },
    h("td.select", h("label", h("input", {
      type: "checkbox", "aria-label": `Select ${isolate(nameOf(key))}`, "data-focus": `select ${id}`, checked: selected.has(id), disabled: !canEnd(key),
      onchange: ({ target }) => select([id], target.checked),
    }))),
    h("th.name", { scope: "row" }, h("a", { href: app.hash("keys", id, params), "data-focus": id }, bdi(nameOf(key))),
      h("span.under",
        key.findings.map((finding) => findings[finding]?.mark && finding !== "EXPIRES_SOON" && h(`span.mark.${findings[finding].mark}`, findings[finding].text)),
        h("code", key.keyPrefix ?? id))),
    h("td.status", state(key.status)),
    h("td.reach", reach(key), key.keyType !== "RETRIEVER" && h("span.under", `${types[key.keyType] ?? "Unknown"} key`)),
    h("td.made", key.createdBy ? who(key.createdBy) : h("span.none", "unknown"), h("span.under", time(key.createdAt, ""))),
    h("td.used", time(key.lastUsedAt)),
    h(`td.expires${key.findings.includes("EXPIRES_SOON") ? ".soon" : ""}`, time(key.expiresAt)));
  }

  function drawRows() {
    const { results, total, pageInfo } = page;
    show(body, results.map(row));
    show(heads.firstChild, pageBox());
    range.textContent = `${number(first())}–${number(first() + results.length - (total ? 1 : 0))} of ${number(total)}`;
    for (const [label, control] of Object.entries(turner)) control.ariaDisabled = String(!(/First|Prev/.test(label) ? pageInfo.hasPreviousPage : pageInfo.hasNextPage));
    show(selection, selected.size > 0 && [
      h("span", { role: "status" }, `${number(selected.size)} selected`),
      button("Revoke …", () => revokeDialog(app, [...selected], () => { selected.clear(); again(); shownKey(route.id); }), ".danger"),
      button("Clear", () => { selected.clear(); drawRows(); })]);
  }

  // Skeletons have the height of rows, so that nothing moves when these arrive. They show only if that takes a while.
  const drawSkeletons = () => show(body, Array.from({ length: 10 }, () => h("tr.skeleton", { "aria-hidden": "true" }, [...heads.children].map(() => h("td", h("i"))))));

  function tell(...content) {
    message.hidden = !content.length;
    rows.hidden = !message.hidden;
    show(message, content.length > 0 && h("div.message", content));
  }

  async function read() {
    reading?.abort();
    reading = new AbortController();
    const either = AbortSignal.any([reading.signal, signal]);
    const { id } = app.place;
    table.ariaBusy = "true";
    const wait = setTimeout(() => { if (!page) drawSkeletons(); }, 150);
    either.addEventListener("abort", () => clearTimeout(wait));
    tell();
    await attempt(message, either, async () => {
      try {
        const data = await ask(id ? "PlaceKeys" : "OrganizationKeys", { ...id && { id }, ...variablesOf(params) }, { signal: either });
        page = (data.organization ?? data.node).apiKeys ?? data.node.keys;
      } catch (failure) {
        page = null;
        show(body);
        range.textContent = "";
        tell(" ");
        throw failure;
      } finally {
        clearTimeout(wait);
        table.ariaBusy = "false";
      }
      if (page.total && !page.results.length) return change({}); // what was on the page is gone
      drawRows();
      tell(...nothing());
    });
  }

  // nothing says why the list is empty, and what to do next.
  function nothing() {
    if (page.total) return [];
    if (Object.keys(variablesOf(params).filter).length) {
      return [h("p", "No key matches."), button("Remove all filters", () => app.go("keys", "", { in: params.in ?? "" }))];
    }
    return [h("p", "There are no active keys here."), button("Show revoked and expired keys", () => change({ status: "all" }))];
  }

  async function readAttention() {
    if (!app.viewer.canReadOrganization) return;
    if (!attentions.firstChild) show(attentions, h("span.hint", "Needs attention")); // holds the place
    const found = await attention(signal);
    show(attentions, found && [h("span.hint", "Needs attention"), found.length ? found.map(([finding, total]) => {
      const on = params.finding === finding;
      return button([h("b", number(total)), ` ${findings[finding].text.toLowerCase()}`], () => change({ finding: on ? "" : finding, status: !on && finding === "LEAKED" ? "all" : "" }),
        `.${findings[finding].mark ?? "calm"}`, { "aria-pressed": String(on), "data-focus": finding, title: findings[finding].why });
    }) : h("span.none", "nothing")]);
  }

  document.addEventListener("row", ({ detail }) => {
    const links = [...body.querySelectorAll("th a")];
    const row = document.activeElement.closest("tr");
    const index = links.findIndex((link) => row?.contains(link));
    if (detail === "x") row?.querySelector("input")?.click();
    else links[index < 0 ? 0 : Math.min(links.length - 1, Math.max(0, index + (detail === "j" ? 1 : -1)))]?.focus();
  }, { signal });

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
