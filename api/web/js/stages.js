// The stages of a job as a row: how each goes, how far it is, how long it took.

import { h, icon, setText } from "./dom.js";
import { STAGES, duration, engineOf } from "./words.js";

const MARKS = { pending: "dot", running: "spin", succeeded: "check", failed: "cross", skipped: "dash", canceled: "dash" };
const WORDS = { pending: "to come", running: "working", failed: "failed", skipped: "skipped", canceled: "canceled" };

export class StageRow {
  #items = new Map();

  constructor() {
    this.element = h("ol", { class: "stages", "aria-label": "Stages" });
  }

  update(job) {
    for (const run of job.stages) {
      if (!this.#items.has(run.stage)) this.#add(run.stage);
      const item = this.#items.get(run.stage);
      const isNext = run.state === "pending" && job.stage === run.stage && job.state === "queued";
      if (item.element.dataset.state !== run.state) {
        item.element.dataset.state = run.state;
        item.mark.replaceChildren(icon(MARKS[run.state]));
      }
      setText(item.words, isNext && run.failures === 0 ? "in the queue" : wordsOf(run));
      item.bar.style.width = `${run.progress}%`;
    }
  }

  #add(stage) {
    const mark = h("span", { class: "mark" });
    const words = h("span", { class: "muted small figures" });
    const bar = h("span", {});
    const name = h("span", { class: "stage-name" }, STAGES[stage].brings);
    const track = h("div", { class: "thin-bar", "aria-hidden": "true" }, bar);
    const element = h("li", {}, mark, h("div", {}, name, words), track);
    this.#items.set(stage, { element, mark, words, bar });
    this.element.append(element);
  }
}

function wordsOf(run) {
  if (run.state === "succeeded") return duration(run.run_ms) || "done";
  if (run.state === "running" && run.progress > 0) return `${run.progress} %`;
  if (run.state === "pending" && run.failures > 0) {
    return `tried ${run.failures === 1 ? "once" : `${run.failures} times`}, again soon`;
  }
  return WORDS[run.state];
}

/** What the row leaves out, for those who want to know. */
export function stageTable(job) {
  const head = h("tr", {}, ...["Stage", "Engine", "Waited", "Ran", "Batch"].map((name) => h("th", { scope: "col" }, name)));
  const rows = job.stages.map((run) => {
    const cells = [engineOf(run) || "–", duration(run.wait_ms) || "–", duration(run.run_ms) || "–", run.batch_size ?? "–"];
    const name = h("th", { scope: "row" }, STAGES[run.stage].name);
    return h("tr", {}, name, ...cells.map((text) => h("td", {}, String(text))));
  });
  return h("table", { class: "small figures" }, h("thead", {}, head), h("tbody", {}, ...rows));
}
