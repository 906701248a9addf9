// The workers as a list: what each has warm, on what machine, and what is wrong with it.

import { coded, h, icon } from "./dom.js";
import { STAGES, STATUSES, count, duration, engineOf, size, warmTimes } from "./words.js";

export function workerItem(worker) {
  const stages = Object.entries(worker.stages);
  const about = [worker.host, `process ${worker.pid}`];
  if (worker.startup_time_ms) about.push(`warm after ${duration(worker.startup_time_ms)}`);
  const name = h("div", { class: "grow" }, h("h3", {}, worker.worker), h("p", { class: "muted small figures" }, about.join(" · ")));
  const head = h("div", { class: "row spread worker-head" }, name, pill(stages));
  const courier = h("p", { class: "muted small" }, "A courier: it delivers webhooks and keeps house, and needs no engine.");
  const list = h("ul", { class: "engines" }, ...stages.map(([stage, report]) => engineItem(stage, report)));
  return h("li", {}, head, machineLine(worker.machine), stages.length ? list : courier);
}

function pill(stages) {
  const [warm, failed] = ["ready", "failed"].map((status) => stages.filter(([, it]) => it.status === status).length);
  if (!stages.length) return h("span", { class: "pill" }, "courier");
  if (failed) return h("span", { class: "pill", "data-mood": "bad" }, `${failed} failed`);
  if (warm < stages.length) return h("span", { class: "pill", "data-mood": "warn" }, "warming up");
  const isDegraded = stages.some(([, it]) => it.degraded.length);
  return h("span", { class: "pill", "data-mood": isDegraded ? "warn" : "good" }, isDegraded ? "warm, degraded" : "warm");
}

function engineItem(stage, report) {
  const [symbol, words] = STATUSES[report.status];
  const engine = engineOf(report) || "no engine yet";
  const state = report.status === "ready" ? warmTimes(report) : (report.detail ?? `${words}, ${report.progress} %`);
  const reasons = report.degraded.map((it) => it.replace(`${stage}: `, ""));
  const troubles = [report.error && h("p", { class: "bad" }, ...coded(report.error)), ...reasons.map((it) => h("p", {}, ...coded(it)))];
  const text = h(
    "div",
    { class: "grow" },
    h("div", { class: "row spread wrap" }, h("strong", {}, STAGES[stage].name), h("span", { class: "muted figures" }, state)),
    h("p", { class: "muted" }, [engine, report.dtype].filter(Boolean).join(" · ")),
    h("div", { class: "troubles" }, ...troubles.filter(Boolean)),
  );
  return h("li", { class: "small", "data-status": report.status }, h("span", { class: "mark" }, icon(symbol)), text);
}

function machineLine(machine) {
  if (!machine) return null;
  const gpus = machine.gpus.map((gpu) => {
    const memory = gpu.memory ? `: ${size(gpu.memory_used ?? 0)} of ${size(gpu.memory)} used` : "";
    return gpu.name + memory;
  });
  const parts = [
    `takes ${size(machine.process_memory)}`,
    `${size(machine.memory_available)} of ${size(machine.memory)} free`,
    count(machine.cores, "core"),
    ...(gpus.length ? gpus : ["no GPU"]),
  ];
  return h("p", { class: "muted small figures" }, parts.join(" · "));
}
