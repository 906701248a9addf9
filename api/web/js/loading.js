// The loading screen: how far each stage is while the fleet warms up, and what is wrong. Covers the app until then.

import { warmAgain } from "./fleet.js";
import { announce, byId, h, icon, setBar, setText } from "./dom.js";
import { STAGES, engineOf, inWords } from "./words.js";

const TITLES = {
  INITIALIZING: ["Getting ready", "Waiting for the workers to report."],
  LOADING_MODELS: ["Loading the models", "This happens once, when the workers start."],
  WARMING_UP: ["Warming up", "Each model is tried out before it takes your notes."],
  ERROR: ["Something is in the way", "The workers have reported what; it is listed below."],
};
const STATUSES = {
  waiting: ["dash", "waiting"],
  loading: ["spin", "loading"],
  warming: ["spin", "warming up"],
  ready: ["check", "ready"],
  failed: ["cross", "failed"],
};

export class LoadingScreen {
  #rows = new Map();
  #progress = 0;
  #skipped = false;
  #focused = null;
  #hasOpened = false;

  /** `onOpen` is called when the app is shown, `staysOpen` says whether it must not be covered now. */
  constructor({ onOpen, staysOpen }) {
    Object.assign(this, { onOpen, staysOpen });
    byId("loading-retry").addEventListener("click", () => this.#retry());
    byId("loading-skip").addEventListener("click", () => {
      this.#skipped = true;
      this.#open();
    });
  }

  /** Show a report of the fleet: cover the app, or uncover it once the fleet is ready. */
  report(report) {
    if (report.ready) {
      this.#progress = 0;
      this.#skipped = false;
      this.#showNotice("");
      this.#open();
      return;
    }
    const [title, note] = TITLES[report.state] ?? TITLES.INITIALIZING;
    this.#show(title, note, report.errors);
    // The server never goes back either; only a new start begins anew.
    this.#progress = Math.max(this.#progress, report.progress);
    setBar(byId("loading-bar"), this.#progress);
    this.#showStages(report.services);
    byId("loading-retry").hidden = report.state !== "ERROR";
  }

  /** Say that the server does not answer. */
  lost(problem) {
    this.#progress = 0;
    const isAway = problem.status === 0;
    const note = isAway ? "Trying again every few seconds. What you see here is kept." : problem.detail;
    this.#show(isAway ? "No connection to the server" : problem.title, note, []);
    byId("loading-retry").hidden = true;
    for (const row of this.#rows.values()) row.update({ status: "waiting" });
    setBar(byId("loading-bar"), 0);
  }

  #show(title, note, errors) {
    setText(byId("loading-title"), title);
    setText(byId("loading-note"), note);
    setText(byId("loading-errors"), errors.map(inWords).join("\n"));
    byId("loading-skip").hidden = !this.#hasOpened;
    if (this.#skipped || this.staysOpen()) this.#showNotice(`${title}. What you send now is kept and worked on later.`);
    else this.#cover();
  }

  #showStages(services) {
    for (const [stage, service] of Object.entries(services)) {
      if (!this.#rows.has(stage)) {
        const row = stageRow(stage);
        this.#rows.set(stage, row);
        byId("loading-stages").append(row.element);
      }
      this.#rows.get(stage).update(service);
    }
  }

  #cover() {
    const [screen, app] = [byId("loading"), byId("app")];
    if (!screen.classList.contains("gone") && app.inert) return;
    this.#focused = document.activeElement;
    this.#showNotice("");
    app.inert = true;
    screen.classList.remove("gone");
    announce(byId("loading-title").textContent);
  }

  #open() {
    const [screen, app] = [byId("loading"), byId("app")];
    if (!app.inert) return;
    app.inert = false;
    screen.classList.add("gone");
    this.#hasOpened = true;
    if (app.contains(this.#focused)) this.#focused.focus();
    announce("Ready");
    this.onOpen();
  }

  #showNotice(text) {
    byId("notice").hidden = text === "";
    setText(byId("notice"), text);
  }

  async #retry() {
    const button = byId("loading-retry");
    button.disabled = true;
    try {
      await warmAgain();
    } catch (problem) {
      const isUnknown = problem.status === 404;
      const words = isUnknown ? "This server does not do that by request; restart the worker." : problem.detail;
      byId("loading-errors").append(h("p", {}, words));
    } finally {
      button.disabled = false;
    }
  }
}

function stageRow(stage) {
  const mark = h("span", { class: "mark" });
  const what = h("span", { class: "muted small" });
  const status = h("span", { class: "small" });
  const ms = h("span", { class: "muted small figures" });
  const element = h(
    "li",
    {},
    mark,
    h("div", { class: "grow" }, h("strong", {}, STAGES[stage].name), what),
    h("div", { class: "loading-state" }, status, ms),
  );
  let shown = "";
  const update = (service) => {
    const [symbol, words] = STATUSES[service.status];
    element.dataset.status = service.status;
    if (shown !== symbol) mark.replaceChildren(icon(symbol));
    shown = symbol;
    setText(what, engineOf(service));
    setText(status, service.detail ?? words);
    setText(ms, times(service));
  };
  return { element, update };
}

function times({ load_time_ms: load, warmup_time_ms: warmup }) {
  const parts = [
    [load, "loaded in"],
    [warmup, "warm in"],
  ];
  return parts
    .filter(([ms]) => ms !== null && ms !== undefined)
    .map(([ms, words]) => `${words} ${Math.round(ms).toLocaleString("en")} ms`)
    .join(" · ");
}
