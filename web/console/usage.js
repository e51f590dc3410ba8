// The chart of a key's use: a bar for each day, and the same numbers as a table.
import { h } from "./dom.js";
import { count, number } from "./format.js";

const height = 56;

export function usageChart({ allowed, refused, days }) {
  const most = Math.max(1, ...days.map((day) => day.allowed + day.refused));
  const bar = (kind, day, from, n) => {
    const size = n && Math.max(1, n / most * height);
    return h(`rect.${kind}`, { x: day * 10 + 1, width: 8, y: height - from / most * height - size, height: size });
  };
  const label = (date) => new Date(date).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });
  return [
    h("p.hint", `In ${count(days.length, "day")}: allowed ${count(allowed, "time")}, refused ${count(refused, "time")}; at most ${number(most)} a day.`),
    h("div.chart", { "aria-hidden": "true" },
      h("svg", { viewBox: `0 0 ${days.length * 10} ${height + 1}`, preserveAspectRatio: "none" }, h("path", { d: `M0 ${height + .5}H${days.length * 10}` }),
        days.map((day, i) => [bar("allowed", i, 0, day.allowed), bar("refused", i, day.allowed, day.refused)])),
      h("p", h("span", label(days[0].date)), h("span", label(days.at(-1).date)))),
    h("details", h("summary", "As a table"), h("table.numbers",
      h("thead", h("tr", ["Day", "Allowed", "Refused"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", days.toReversed().map((day) => h("tr", h("th", { scope: "row" }, day.date), h("td", number(day.allowed)), h("td", number(day.refused))))))),
  ];
}
