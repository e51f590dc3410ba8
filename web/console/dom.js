// Makes elements. Text from the API becomes text nodes only; nothing here parses HTML.
import { Failure } from "./api.js";

const properties = new Set(["value", "checked", "disabled", "indeterminate", "selected", "hidden"]);
const svgTags = new Set(["svg", "rect", "path"]);

// h("a.open", { href: "#/keys" }, "Keys") makes an element. The attributes are optional. Those that are null, undefined or false are left
// out, and those that begin with "on" are listeners. Children that are null, undefined or false are left out too.
export function h(tag, ...children) {
  const attributes = children[0] && Object.getPrototypeOf(children[0]) === Object.prototype ? children.shift() : {};
  const [name, ...classes] = tag.split(".");
  const element = svgTags.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (properties.has(key)) element[key] = value;
    else if (value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  return put(element, children);
}

export function put(element, ...children) {
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const button = (text, onclick, kind = "", more = {}) => h(`button${kind}`, { type: "button", onclick, ...more }, text);

// options turns { value: text } into options.
export const options = (choices, chosen) => Object.entries(choices).map(([value, text]) => h("option", { value, selected: value === chosen }, text));

// menu is a select that calls change with the value that is chosen.
export const menu = (label, name, choices, chosen, change) => h("select", {
  "aria-label": label, "data-focus": name, "data-set": Boolean(chosen), onchange: ({ target }) => change({ [name]: target.value }),
}, options(choices, chosen));

// show replaces the content of a region. The focus stays on the element with the same data-focus, so that a list that is read again does
// not throw keyboard users out of it.
export function show(region, ...children) {
  const focused = region.contains(document.activeElement) && document.activeElement.dataset.focus;
  region.replaceChildren();
  put(region, children);
  if (focused) region.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// attempt runs an action that reads for a region. If it fails, the region says why and offers to try again.
export async function attempt(region, signal, action, words = (failure) => failure.message) {
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

// copyButton copies a text and says so in place, without changing its width.
export function copyButton(text, what) {
  const copy = button([h("span", "Copy"), h("span.unseen", ` ${what}`)], async () => {
    const label = copy.firstChild;
    try {
      await navigator.clipboard.writeText(text());
      label.textContent = "Copied";
      say("Copied.");
    } catch { // not on HTTPS, or not permitted
      getSelection().selectAllChildren(copy.parentElement.querySelector("code"));
      label.textContent = "Ctrl C";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 2500);
  }, ".copy");
  return copy;
}
