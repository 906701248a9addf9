// The fleet in a word, in the header; opened, what each stage runs on and what waits for it.

import { byId, coded, h, setText } from "./dom.js";
import { STAGES, STATUSES, count, engineOf, inWords } from "./words.js";

export function showFleet(report) {
  const state = report.degraded ? "Ready, degraded" : "Ready";
  setPill(report.ready ? state : "Not ready", report.ready ? (report.degraded ? "warn" : "good") : "bad");
  const rows = Object.entries(report.services).map(([stage, service]) => row(stage, service, report));
  // Who has shown no key where one is wanted is told the least: no engines, no reasons, no queues.
  const reasons = (report.degraded_reasons ?? []).map((reason) => h("li", {}, ...coded(inWords(reason))));
  byId("fleet-panel").replaceChildren(
    ...("total" in (report.workers ?? {}) ? [workersLine(report.workers)] : []),
    h("dl", {}, ...rows.flat()),
    ...(reasons.length ? [h("ul", { class: "reasons small" }, ...reasons)] : []),
  );
}

export function showLost() {
  setPill("No answer", "bad");
}

export function closeOnOutside() {
  const fleet = byId("fleet");
  document.addEventListener("click", (event) => !fleet.contains(event.target) && (fleet.open = false));
  fleet.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    fleet.open = false;
    fleet.querySelector("summary").focus();
  });
}

function setPill(text, mood) {
  const pill = byId("fleet-pill");
  pill.dataset.mood = mood;
  setText(pill, text);
}

function row(stage, service, report) {
  const queue = report.queues?.[stage];
  const waits = queue ? `${queue.depth} waiting, ${queue.running} running` : "";
  const name = h("dt", { class: "row spread" }, STAGES[stage].name, h("span", { class: "muted small" }, waits));
  return [name, h("dd", {}, engineOf(service) || STATUSES[service.status][1])];
}

const workersLine = ({ warm, total }) => h("p", { class: "muted small" }, `${warm} of ${count(total, "worker")} warm`);
