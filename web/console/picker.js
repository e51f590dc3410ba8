// A box to choose a namespace or a retriever in, after the ARIA pattern "editable combobox with list autocomplete".
import { ask } from "./api.js";
import { h, newId, show } from "./dom.js";
import { bdi, number } from "./format.js";

// placePicker fills the element. places: the organization and namespaces can be chosen too; otherwise only retrievers for which the caller
// may create keys. choose gets the id, and the retriever if it is one.
export function placePicker(element, { label, places, app, choose }) {
  const list = h("ul", { id: newId(), role: "listbox", "aria-label": label, popover: "manual" });
  const input = h("input", {
    type: "text", role: "combobox", id: newId(), "aria-label": places ? label : null, "aria-controls": list.id, "aria-expanded": "false", "aria-autocomplete": "list",
    autocomplete: "off", spellcheck: "false", placeholder: places ? "" : "Type to find a retriever",
  });
  let options = [];
  let active = -1;
  let latest = 0;

  const isOpen = () => list.matches(":popover-open");

  function mark(index) {
    active = index;
    for (const [i, { node }] of options.entries()) node.setAttribute("aria-selected", String(i === index));
    if (index < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", options[index].node.id);
    options[index].node.scrollIntoView({ block: "nearest" });
  }

  function close() {
    if (isOpen()) list.hidePopover();
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  }

  function take({ id, retriever, text }) {
    input.value = places ? "" : text;
    close();
    choose(id, retriever);
  }

  function option(id, text, under, retriever) {
    const node = h(`li.${under ? "retriever" : "namespace"}`, {
      id: newId(), role: "option", "aria-selected": "false",
      onpointerdown: (event) => event.preventDefault(), // the focus stays in the box
      onclick: () => take({ id, retriever, text }),
    }, bdi(text), under && h("span.unseen", null, ` in ${under}`));
    options.push({ node, id, retriever, text });
    return node;
  }

  async function fill() {
    const mine = ++latest;
    const text = input.value.trim();
    let namespaces;
    try {
      ({ organization: { namespaces: { results: namespaces } } } = await ask("Places", text ? { search: text.slice(0, 200) } : {}, { quiet: true }));
    } catch (failure) {
      if (mine === latest) show(list, h("li.note", { role: "option", "aria-disabled": "true" }, failure.message));
      return;
    }
    if (mine !== latest || !isOpen()) return;
    options = [];
    const matches = (name) => name.toLowerCase().includes(text.toLowerCase());
    const rows = [];
    if (places && app.viewer.canReadOrganization && !text) rows.push(option("", "The whole organization"));
    for (const namespace of namespaces) {
      const { results, total } = namespace.retrievers;
      const shown = results.filter((retriever) => places || retriever.viewerCanCreateApiKey);
      if (places && (matches(namespace.name) || shown.length)) rows.push(option(namespace.id, namespace.name));
      else if (shown.length) rows.push(h("li.group", { role: "presentation" }, bdi(namespace.name)));
      for (const retriever of shown) rows.push(option(retriever.id, retriever.name, namespace.name, { ...retriever, namespace }));
      if (total > results.length) rows.push(h("li.note", { role: "presentation" }, `${number(total - results.length)} more: type a part of the name`));
    }
    if (!options.length) rows.push(h("li.note", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, text ? "Nothing has this name." : "There is none in which you may create keys."));
    show(list, ...rows);
    mark(text && options.length ? 0 : -1);
  }

  function open() {
    if (isOpen()) return;
    list.showPopover();
    const { left, bottom, width } = input.getBoundingClientRect();
    Object.assign(list.style, { left: `${left}px`, top: `${bottom + 4}px`, minWidth: `${width}px` });
    input.setAttribute("aria-expanded", "true");
    fill();
  }

  input.addEventListener("focus", () => { if (places) input.select(); });
  input.addEventListener("click", open);
  input.addEventListener("input", () => { open(); fill(); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const { key } = event;
    if (key === "ArrowDown" || key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen()) return open();
      if (options.length) mark((active + (key === "ArrowDown" ? 1 : -1) + options.length + (active < 0 && key === "ArrowUp" ? 1 : 0)) % options.length);
    } else if (key === "Enter" && isOpen()) {
      event.preventDefault();
      if (active >= 0) take(options[active]);
    } else if (key === "Escape" && isOpen()) {
      event.preventDefault();
      event.stopPropagation();
      if (places) input.value = "";
      close();
    }
  });
  element.append(input, list);
  return input;
}
