// Makes elements. Text from the API becomes text nodes only; nothing here parses HTML.

const properties = new Set(["value", "checked", "disabled", "indeterminate", "selected", "hidden", "open"]);

// h("a.open", { href: "#/keys" }, "Keys") makes an element. Attributes that are null, undefined or false are left out, and names that
// begin with "on" are listeners. Children that are null, undefined or false are left out too.
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (properties.has(key)) element[key] = value;
    else if (value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

const svgNames = "http://www.w3.org/2000/svg";

export function svg(name, attributes, ...children) {
  const element = document.createElementNS(svgNames, name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

// show replaces the content of a region. The focus stays on the element with the same data-focus, so that a list that is read again does
// not throw keyboard users out of it.
export function show(region, ...children) {
  const focused = region.contains(document.activeElement) ? document.activeElement.closest("[data-focus]")?.dataset.focus : undefined;
  region.replaceChildren(...present(children));
  if (focused) [...region.querySelectorAll("[data-focus]")].find((element) => element.dataset.focus === focused)?.focus({ preventScroll: true });
}

// say tells screen readers something that others see elsewhere.
export function say(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 50); // a change in the same task is not announced
}

// copyButton copies a text and says so in place, without changing its width.
export function copyButton(text, what) {
  const label = h("span", null, "Copy");
  const button = h("button.copy", {
    type: "button",
    "aria-label": what && `Copy ${what}`,
    async onclick() {
      try {
        await navigator.clipboard.writeText(text());
        label.textContent = "Copied";
        say("Copied.");
      } catch {
        label.textContent = "Press Ctrl C";
        const shown = button.parentElement.querySelector("code");
        if (shown) getSelection().selectAllChildren(shown);
      }
      setTimeout(() => { label.textContent = "Copy"; }, 2500);
    },
  }, label);
  return button;
}

let ids = 0;
export const newId = () => `n${++ids}`;
