// The chart of a key's use: a bar for each day, and the same numbers as a table.
import { h, svg } from "./dom.js";
import { count, number } from "./format.js";

const height = 56;

export function usageChart({ allowed, refused, days }) {
  const most = Math.max(1, ...days.map((day) => day.allowed + day.refused));
  const bar = (x, bottom, n, kind) => n > 0 && svg("rect", { x, width: 8, y: bottom - Math.max(1, n / most * height), height: Math.max(1, n / most * height), class: kind });
  const label = (date) => new Date(`${date}T00:00Z`).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });
  return [
    h("p.hint", null, `Allowed ${count(allowed, "time")}`, refused > 0 && `, refused ${count(refused, "time")}`, `, in ${count(days.length, "day")}. At most ${number(most)} a day.`),
    h("div.chart", null,
      svg("svg", { viewBox: `0 0 ${days.length * 10} ${height + 1}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("path", { class: "axis", d: `M0 ${height + .5}H${days.length * 10}` }),
        days.map((day, i) => svg("g", {}, svg("title", {}, `${label(day.date)}: ${number(day.allowed)} allowed, ${number(day.refused)} refused`),
          svg("rect", { x: i * 10, y: 0, width: 10, height, class: "hover" }),
          bar(i * 10 + 1, height, day.allowed, "allowed"),
          bar(i * 10 + 1, height - day.allowed / most * height, day.refused, "refused")))),
      h("div.ends", { "aria-hidden": "true" }, h("span", null, label(days[0].date)), h("span", null, label(days.at(-1).date)))),
    h("details", null, h("summary", null, "As a table"), h("table.numbers", null,
      h("thead", null, h("tr", null, ["Day", "Allowed", "Refused"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", null, days.toReversed().map((day) => h("tr", null, h("th", { scope: "row" }, day.date), h("td", null, number(day.allowed)), h("td", null, number(day.refused))))))),
  ];
}
