import { Failure } from "./api.js";

const given = (value) => value !== null && value !== undefined && value !== false;

// h("a.open", { href: "#/keys" }, "Keys") makes an element. Attributes that begin with "on" are listeners.
// Attributes and children that are null, undefined or false are left out.
export function h(tag, ...children) {
  const attributes = children[0] && Object.getPrototypeOf(children[0]) === Object.prototype ? children.shift() : {};
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (given(value)) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(given));
  return element;
}

export const button = (text, onclick, kind = "", more = {}) => h(`button${kind}`, { type: "button", onclick, "data-focus": String(text), ...more }, text);

export const options = (choices, chosen) => Object.entries(choices).map(([value, text]) => h("option", { value, selected: value === chosen }, text));

// menu is a select that calls change with the value that is chosen. The choice "" is its label too.
export const menu = (name, choices, chosen, change) => h("select", {
  "aria-label": choices[""], "data-focus": name, "data-set": Boolean(chosen), onchange: ({ target }) => change({ [name]: target.value }),
}, options(choices, chosen));

export const chip = (remove, ...text) => h("span.chip", text, button("×", remove, "", { "aria-label": "Remove this filter" }));

// show replaces the content of a region. The focus stays on the element with the same data-focus.
export function show(region, ...children) {
  const focused = region.contains(document.activeElement) && document.activeElement.dataset.focus;
  region.replaceChildren(...children.flat(Infinity).filter(given));
  if (focused) region.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// bar is a piece of a chart. side is "width" or "height".
export function bar(kind, side, n, most) {
  const piece = h(`i${kind}`);
  piece.style[side] = `${n / (most || 1) * 100}%`;
  return piece;
}

// attempt runs an action. If it fails, the region says why and offers to try again.
export async function attempt(region, signal, action, words = ({ message }) => message) {
  try {
    await action();
  } catch (failure) {
    if (signal.aborted) return;
    if (!(failure instanceof Failure)) throw failure;
    show(region, h("div.message", h("p", { role: "alert" }, words(failure)), button("Try again", () => attempt(region, signal, action, words)),
      failure.requestId && h("p.hint", "Request ", h("code", failure.requestId))));
  }
}

// say tells screen readers something that others see elsewhere.
export function say(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 50); // a change in the same task is not announced
}

export function copyable(text, what) {
  const code = h("code", text);
  const label = h("span", "Copy");
  return h("span.copyable", code, " ", button([label, h("span.unseen", ` ${what}`)], async () => {
    try {
      await navigator.clipboard.writeText(text);
      label.textContent = "Copied";
      say("Copied.");
    } catch { // not on HTTPS, or not permitted
      getSelection().selectAllChildren(code);
      label.textContent = "Ctrl C";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 2500);
  }));
}
