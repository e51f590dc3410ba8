// Turns values into what people read.
import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en");
export const number = (n) => whole.format(n);
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

// bdi keeps the direction of a stored text inside it. Where there is only a string, isolate does the same with characters.
export const bdi = (text) => h("bdi", null, text);
export const isolate = (text) => `\u2068${text}\u2069`;

export const nameOf = (key) => key.name || "(no name)";

// who shortens the platform's user ids, which all begin alike.
export const who = (id) => h("bdi", { title: id }, id.replace(/^usr_(?=.)/, ""));

const steps = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

export function ago(date, now = Date.now()) {
  let distance = (new Date(date) - now) / 1000;
  if (Math.abs(distance) < 45) return distance > 0 ? "in a moment" : "just now";
  for (const [unit, length] of steps) {
    if (Math.abs(Math.round(distance)) < length) return relative.format(Math.round(distance), unit).replace(".", "");
    distance /= length;
  }
  return "";
}

const local = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const days = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
export const exact = (date) => local.format(new Date(date));
export const day = (date) => days.format(new Date(date));

// time is a relative time that keeps itself up to date, with the exact one in its title: local, then UTC.
export function time(date, never = "never") {
  if (!date) return h("span.none", null, never);
  return h("time", { datetime: date, title: `${exact(date)} · ${date.replace("T", " ").replace(/\.\d+Z$/, " UTC")}` }, ago(date));
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[datetime]:not([data-exact])")) {
    const text = ago(element.dateTime);
    if (element.textContent !== text) element.textContent = text;
  }
}, 20_000);

const capital = (text) => text[0].toUpperCase() + text.slice(1);
export const words = (value) => value.toLowerCase().replaceAll("_", " ");

export const types = {
  RETRIEVER: "Retriever", STANDARD: "Organization", MARKETPLACE_SUBSCRIPTION: "Marketplace", USER_SCOPED: "User", SESSION: "Session", UNKNOWN: "Unknown",
};

// state shows a key's state by its color, its word and its shape.
export const state = (status) => h(`span.state.${status.toLowerCase()}`, null, capital(status.toLowerCase()));

// reach says in a few words what a key reaches.
export function reach(key) {
  const { results, total } = key.retrievers;
  switch (key.reach) {
    case "ORGANIZATION": return "the whole organization";
    case "NAMESPACES": return "whole namespaces";
    case "PATTERN": return "retrievers by a pattern";
    case "RETRIEVERS":
      if (!total) return "a retriever that is gone";
      return [bdi(results[0].name), total === 2 && results[1] && [", ", bdi(results[1].name)], (total > 2 || total > results.length) && ` and ${number(total - 1)} more`];
    default: return "no retriever";
  }
}

const span = [["year", 365 * 86400], ["day", 86400], ["hour", 3600], ["minute", 60]];
export function duration(seconds) {
  for (const [unit, length] of span) if (seconds >= length && seconds % length === 0) return count(seconds / length, unit);
  return count(seconds, "second");
}
