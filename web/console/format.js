import { h } from "./dom.js";

export const number = (n) => n.toLocaleString("en");
export const count = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;

// bdi keeps the direction of a stored text inside it. Where only a string can stand, isolate does the same with characters.
export const bdi = (text) => h("bdi", text);
export const isolate = (text) => `\u2068${text}\u2069`;
export const nameOf = (key) => key.name || "(no name)";

// who shortens the platform's user ids, which all begin alike.
export const who = (id) => h("bdi", { title: id }, id.replace(/^usr_(?=.)/, ""));

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

function ago(date) {
  let distance = (new Date(date) - Date.now()) / 1000;
  if (Math.abs(distance) < 45) return "now";
  for (const [unit, length] of [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]]) {
    if (Math.abs(Math.round(distance)) < length) return relative.format(Math.round(distance), unit).replace(".", "");
    distance /= length;
  }
}

export const exact = (date) => new Date(date).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
export const day = (date) => new Date(date).toLocaleDateString("en", { dateStyle: "medium" });

// time is a relative time that stays up to date. Its title is the exact one: local, then UTC.
export const time = (date) => date
  ? h("time", { datetime: date, title: `${exact(date)} · ${date.replace("T", " ").replace(/\.\d+Z$/, " UTC")}` }, ago(date))
  : h("span.hint", "never");

setInterval(() => {
  for (const element of document.querySelectorAll("time")) element.textContent = ago(element.dateTime);
}, 20_000);

export const words = (value) => value.toLowerCase().replaceAll("_", " ");
export const capital = (text) => text[0].toUpperCase() + text.slice(1);

export const types = { RETRIEVER: "Retriever", STANDARD: "Organization", MARKETPLACE_SUBSCRIPTION: "Marketplace", USER_SCOPED: "User", SESSION: "Session" };

export const state = (status) => h(`span.state.${words(status)}`, capital(words(status)));

export function reach({ reach: how, retrievers: { results, total } }) {
  if (how !== "RETRIEVERS") return { ORGANIZATION: "the whole organization", NAMESPACES: "whole namespaces", PATTERN: "retrievers by a pattern" }[how] ?? "no retriever";
  if (!results.length) return "a retriever that is gone";
  return [bdi(results[0].name), total > 1 && ` and ${number(total - 1)} more`];
}

export function duration(seconds) {
  const [unit, length] = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, length]) => seconds % length === 0);
  return count(seconds / length, unit);
}
