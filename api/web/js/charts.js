// Numbers as pictures: jobs per minute, and the sizes of batches. Each says in words what it shows.

import { h, svg } from "./dom.js";

const KINDS = ["failed", "canceled", "succeeded"]; // from the bottom up
const GAP = 0.16;

const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);

/** Stacked bars, one per minute. */
export function perMinute(minutes) {
  const totals = minutes.map((minute) => sum(KINDS.map((kind) => minute[kind])));
  const most = Math.max(1, ...totals);
  const label = `Jobs that ended, minute by minute: ${sum(totals)} within the hour, at most ${Math.max(...totals)} a minute.`;
  const picture = svg(
    "svg",
    { class: "minutes", role: "img", "aria-label": label, viewBox: `0 0 ${minutes.length} 1`, preserveAspectRatio: "none" },
    ...minutes.map((minute, place) => column(minute, place, most)),
  );
  const axis = h("div", { class: "row spread muted small figures", "aria-hidden": "true" });
  axis.append(h("span", {}, "an hour ago"), h("span", {}, `most: ${Math.max(...totals)} a minute`), h("span", {}, "now"));
  return h("div", {}, picture, axis);
}

function column(minute, place, most) {
  const when = new Date(minute.at).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
  const column = svg("g", {}, svg("title", {}, `${when}: ${KINDS.map((kind) => `${minute[kind]} ${kind}`).join(", ")}`));
  // The whole height, so that the words come up wherever the pointer is.
  column.append(svg("rect", { class: "slot", x: place, y: 0, width: 1, height: 1 }));
  let y = 1;
  for (const kind of KINDS) {
    const height = minute[kind] / most;
    y -= height;
    if (height) column.append(svg("rect", { class: kind, x: place + GAP / 2, y, width: 1 - GAP, height }));
  }
  return column;
}

const SIZES = [
  [1, "1"],
  [2, "2"],
  [4, "3–4"],
  [8, "5–8"],
  [16, "9–16"],
  [32, "17–32"],
  [Infinity, "33+"],
];

/** How many runs shared their model call with how many, as columns. */
export function batchSizes(batches) {
  const counts = SIZES.map(() => 0);
  for (const [size, runs] of Object.entries(batches)) counts[SIZES.findIndex(([most]) => Number(size) <= most)] += runs;
  const used = counts.findLastIndex((count) => count > 0) + 1;
  const [all, most] = [sum(counts), Math.max(...counts)];
  const columns = SIZES.slice(0, Math.max(4, used)).map(([, name], place) => {
    const bar = h("span", { class: "column" });
    bar.style.height = `${(100 * counts[place]) / most}%`;
    const share = Math.round((100 * counts[place]) / all);
    const words = h("span", { class: "visually-hidden" }, `: ${share} % of runs`);
    return h("li", { title: `${name}: ${counts[place]} runs, ${share} %` }, h("span", { class: "shaft" }, bar), name, words);
  });
  return h("ol", { class: "histogram small muted figures", "aria-label": "Sizes of batches" }, ...columns);
}
