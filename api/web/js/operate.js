// The operators' view: the fleet at work. Texts and pictures are made anew when what they show has changed.

import { batchSizes, perMinute } from "./charts.js";
import { Deliveries } from "./deliveries.js";
import { byId, coded, h, setCoded, setText } from "./dom.js";
import { warmAgain } from "./fleet.js";
import { watchOperations } from "./operations.js";
import { STAGES, STATES_OF_FLEET, ago, count, duration, inWords, remaining } from "./words.js";
import { workerItem } from "./workers.js";

const OUTCOMES = { succeeded: "done", failed: "failed", canceled: "canceled" };

export class OperateView {
  #watching = null;
  #shown = new Map();
  #fleet = null;
  #report = null;
  #deliveries = new Deliveries();

  constructor() {
    byId("warm-again").addEventListener("click", () => this.#warmAgain());
  }

  /** Ask and show until `close`. */
  open() {
    this.close();
    this.#deliveries.clear(); // the key may be another tenant's now
    this.#watching = new AbortController();
    watchOperations({
      onReport: (report) => this.#show(report),
      onProblem: (problem) => this.#fail(problem),
      signal: this.#watching.signal,
    });
  }

  close() {
    this.#watching?.abort();
    this.#watching = null;
    this.#say("");
  }

  get isOpen() {
    return this.#watching !== null;
  }

  /** Take in the fleet's report, of which this view shows what is in the way. */
  fleet(report) {
    this.#fleet = report;
    byId("operate-fleet").hidden = report.ready;
    setCoded(byId("operate-fleet"), report.ready ? "" : inTheWay(report));
    if (this.#report) this.#showTiles(this.#report);
  }

  #show(report) {
    this.#report = report;
    this.#fail(null);
    byId("operate-body").hidden = false;
    setText(byId("operate-live"), `As of ${new Date(report.at).toLocaleTimeString("en", { hour12: false })}`);
    this.#showFlower(report.flower_url);
    this.#showAway(report);
    this.#showTiles(report);
    this.#showThroughput(report.statistics);
    this.#showFailures(report.statistics);
    this.#showWorkers(report.workers);
    this.#deliveries.refresh();
  }

  /** Make a part anew, unless it would show the same. */
  #part(id, data, make) {
    const text = JSON.stringify(data);
    if (this.#shown.get(id) === text) return;
    this.#shown.set(id, text);
    byId(id).replaceChildren(...make());
  }

  #showFlower(url) {
    const link = byId("flower");
    link.hidden = !url;
    if (url) link.href = url;
  }

  #showAway({ workers, queues, statistics }) {
    const away = [
      workers === null && "Redis does not answer, so nobody knows which workers there are. Jobs are kept, and start later.",
      (queues === null || statistics === null) && "The database does not answer, so nothing can be accepted or counted.",
    ];
    setText(byId("operate-away"), away.filter(Boolean).join(" "));
  }

  #showTiles({ queues, statistics, workers }) {
    const tiles = Object.keys(STAGES).map((stage) => ({
      stage,
      queue: queues?.[stage] ?? null,
      pace: statistics?.paces.find((pace) => pace.stage === stage) ?? null,
      warm: (workers ?? []).filter((worker) => worker.stages[stage]?.status === "ready").length,
      required: this.#fleet?.workers?.by_stage?.[stage]?.required ?? 0,
    }));
    this.#part("tiles", tiles, () => tiles.map(tile));
  }

  #showThroughput(statistics) {
    const minutes = statistics?.throughput ?? [];
    byId("throughput-title").closest("section").hidden = !minutes.length;
    if (!minutes.length) return;
    const total = (kind) => minutes.reduce((sum, minute) => sum + minute[kind], 0);
    const isQuiet = Object.keys(OUTCOMES).every((kind) => total(kind) === 0);
    const quiet = () => h("p", { class: "muted" }, "No job has ended within the hour.");
    this.#part("throughput", minutes, () => [isQuiet ? quiet() : perMinute(minutes)]);
    this.#part("totals", minutes, () =>
      Object.entries(OUTCOMES).map(([kind, name]) => figure(name, total(kind).toLocaleString("en"), kind)),
    );
  }

  #showFailures(statistics) {
    const failures = statistics?.failures ?? [];
    const minute = Math.floor(Date.now() / 60_000); // "2 minutes ago" grows old
    this.#part("failures", [failures, minute], () =>
      failures.length ? failures.map(failureItem) : [h("li", { class: "muted" }, "No job has failed.")],
    );
  }

  #showWorkers(workers) {
    // Those with engines first.
    const found = [...(workers ?? [])].sort((one, other) => hasEngines(other) - hasEngines(one));
    setText(byId("workers-count"), workers === null ? "" : count(found.length, "process", "es"));
    this.#part("workers", found, () =>
      found.length ? found.map(workerItem) : [h("li", { class: "muted" }, "No worker has reported. Start one with “voxqueue worker”.")],
    );
  }

  #fail(problem) {
    const place = byId("operate-problem");
    if (problem === null) {
      place.replaceChildren();
      return;
    }
    if (!problem.detail) throw problem;
    const again = h("button", { type: "button", class: "button small", onclick: () => this.open() }, "Try again");
    const isRefused = problem.status === 401 || problem.status === 403;
    if (isRefused) byId("operate-body").hidden = true;
    place.replaceChildren(h("strong", {}, problem.title), h("p", {}, problem.detail), ...(isRefused ? [again] : []));
  }

  async #warmAgain() {
    const button = byId("warm-again");
    button.disabled = true;
    try {
      await warmAgain();
      this.#say("The workers have been asked to try their failed engines again.");
    } catch (problem) {
      this.#say(`${problem.title}. ${problem.detail}`);
    } finally {
      button.disabled = false;
    }
  }

  #say(words) {
    byId("operate-said").hidden = words === "";
    setText(byId("operate-said"), words);
  }
}

/** How far the fleet is, and what its workers have to say of it, a line each. */
function inTheWay(report) {
  const [title] = STATES_OF_FLEET[report.state] ?? STATES_OF_FLEET.INITIALIZING;
  const first = [`${title}, ${report.progress} %`, remaining(report.eta_s)].filter(Boolean).join(": ");
  return [first, ...(report.errors ?? []).map(inWords)].join("\n");
}

const hasEngines = (worker) => Object.keys(worker.stages).length > 0;

function figure(name, value, kind = "") {
  return h("div", { "data-kind": kind }, h("dt", {}, name), h("dd", {}, value));
}

function tile({ stage, queue, pace, warm, required }) {
  const isShort = warm < Math.max(1, required);
  const mood = { class: "pill", "data-mood": isShort ? (required ? "bad" : "warn") : "good" };
  const age = queue?.oldest_age_s;
  const figures = [
    figure("waiting", queue ? queue.depth.toLocaleString("en") : "–"),
    figure("running", queue ? queue.running.toLocaleString("en") : "–"),
    figure("oldest waits", (age ?? null) === null ? "–" : duration(age * 1000)),
  ];
  return h(
    "article",
    { class: "panel block tile", "aria-label": STAGES[stage].name },
    h("div", { class: "row spread" }, h("h3", {}, STAGES[stage].name), h("span", mood, isShort && required ? `${warm} of ${required} warm` : `${warm} warm`)),
    h("dl", {}, ...figures),
    ...(pace ? paceOf(pace) : [h("p", { class: "muted small" }, "No run has ended within the hour.")]),
  );
}

function paceOf(pace) {
  const head = ["", "Half within", "95 % within"].map((name) => h(name ? "th" : "td", name ? { scope: "col" } : {}, name));
  const row = (name, ...times) => h("tr", {}, h("th", { scope: "row" }, name), ...times.map((ms) => h("td", {}, duration(ms))));
  const rows = [row("Waited", pace.wait_p50_ms, pace.wait_p95_ms), row("Ran", pace.run_p50_ms, pace.run_p95_ms)];
  const batches = `In batches of ${pace.mean_batch.toFixed(1)} on average`;
  return [
    h("table", { class: "small figures" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
    h("div", {}, h("p", { class: "muted small figures" }, batches), batchSizes(pace.batches)),
  ];
}

function failureItem(failure) {
  const detail = failure.detail && inWords(failure.detail);
  const when = ago(new Date(failure.last_at));
  const which = failure.job_id ? [", job ", h("code", {}, failure.job_id)] : [", a job of another tenant"];
  return h(
    "li",
    { class: "failure" },
    h("span", { class: "pill figures", "data-mood": "bad" }, failure.count.toLocaleString("en")),
    h(
      "div",
      { class: "grow" },
      h("strong", {}, failure.title || "Without a reason"),
      ...(detail ? [h("p", { class: "small" }, ...coded(failure.count > 1 ? `The last of them: ${detail}` : detail))] : []),
      h("p", { class: "muted small" }, `${STAGES[failure.stage].name} · last ${when}`, ...which),
    ),
  );
}
