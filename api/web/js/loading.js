// The loading screen: how far each stage is while the fleet warms up, and what is wrong. Covers the app until then.

import { announce, byId, h, icon, setBar, setCoded, setText } from "./dom.js";
import { warmAgain } from "./fleet.js";
import { currentKey, enterKey } from "./key.js";
import { STAGES, STATES_OF_FLEET, STATUSES, engineOf, inWords, remaining, warmTimes } from "./words.js";

export class LoadingScreen {
  #rows = new Map();
  #progress = 0;
  #skipped = false;
  #focused = null;
  #hasOpened = false;
  #isLost = false;
  #again = () => {};

  /** `onOpen`: the app is shown. `onAsk`: ask the server now. `staysOpen()`: it must not be covered now. */
  constructor({ onOpen, onAsk, staysOpen }) {
    Object.assign(this, { onOpen, onAsk, staysOpen });
    byId("loading-retry").addEventListener("click", () => this.#retry());
    byId("loading-key").addEventListener("click", () => enterKey());
    byId("loading-skip").addEventListener("click", () => {
      this.#skipped = true;
      this.#open();
    });
  }

  /** Show a report of the fleet, and cover the app until that is ready. */
  report(report) {
    this.#again = () => this.report(report);
    this.#showLost(false);
    if (report.ready) {
      this.#progress = 0;
      this.#skipped = false;
      this.#showNotice("");
      this.#say("");
      if (this.#open()) announce("Ready");
      return;
    }
    const hasFailed = report.state === "ERROR";
    // Without a key where one is wanted, nobody is told what is wrong.
    const isHidden = hasFailed && report.errors === undefined && currentKey() === null;
    const [title, note] = STATES_OF_FLEET[report.state] ?? STATES_OF_FLEET.INITIALIZING;
    this.#show(title, isHidden ? "The server says what to those only who have a key." : note, report.errors ?? []);
    // The server never goes back either; only a new start begins anew.
    this.#progress = Math.max(this.#progress, report.progress);
    this.#showProgress(remaining(report.eta_s));
    this.#showStages(report.services);
    byId("loading-errors").classList.toggle("problem", hasFailed);
    byId("loading-retry").hidden = !hasFailed;
    byId("loading-key").hidden = !isHidden;
  }

  /** Cover or uncover the app anew: what it stays open for may have changed. */
  look() {
    this.#again();
  }

  /** The server does not answer. */
  lost(problem) {
    this.#again = () => this.lost(problem);
    this.#progress = 0;
    const isAway = problem.status === 0;
    const kept = this.#hasOpened ? " What you wrote or recorded is kept." : "";
    const note = isAway ? `Trying again every few seconds.${kept}` : problem.detail;
    this.#show(isAway ? "No connection to the server" : problem.title, note, []);
    this.#showLost(true);
    byId("loading-retry").hidden = false;
    byId("loading-key").hidden = true;
    for (const row of this.#rows.values()) row.update({ status: "waiting" });
    this.#showProgress("");
  }

  /** Without an answer there is nothing to measure or to see. */
  #showLost(isLost) {
    if (isLost || this.#isLost) this.#say("");
    this.#isLost = isLost;
    for (const id of ["loading-bar", "loading-figures", "loading-operate"]) byId(id).hidden = isLost;
  }

  #show(title, note, errors) {
    setText(byId("loading-title"), title);
    setText(byId("loading-note"), note);
    setCoded(byId("loading-errors"), errors.map(inWords).join("\n"));
    byId("loading-skip").hidden = !this.#hasOpened;
    if (this.#skipped || this.staysOpen()) {
      this.#showNotice(`${title}. What you send now is kept and worked on later.`);
      this.#open();
    } else this.#cover();
  }

  #showProgress(words) {
    setBar(byId("loading-bar"), this.#progress);
    setText(byId("loading-percent"), this.#progress ? `${this.#progress} %` : "");
    setText(byId("loading-eta"), words);
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

  /** Show the app. True if it was covered. */
  #open() {
    const [screen, app] = [byId("loading"), byId("app")];
    if (!app.inert) return false;
    app.inert = false;
    screen.classList.add("gone");
    this.#hasOpened = true;
    if (app.contains(this.#focused)) this.#focused.focus();
    this.onOpen();
    return true;
  }

  #showNotice(text) {
    byId("notice").hidden = text === "";
    setText(byId("notice"), text);
  }

  #say(words) {
    setText(byId("loading-said"), words);
  }

  async #retry() {
    if (this.#isLost) {
      this.#say("Asking the server.");
      this.onAsk();
      return;
    }
    const button = byId("loading-retry");
    button.disabled = true;
    this.#say("");
    try {
      await warmAgain();
      this.#say("The workers have been asked to try again.");
    } catch (problem) {
      this.#say(problem.detail);
    } finally {
      button.disabled = false;
    }
  }
}

function stageRow(stage) {
  const mark = h("span", { class: "mark" });
  const optional = h("span", { class: "optional small" });
  const what = h("span", { class: "muted small" });
  const status = h("span", { class: "small" });
  const ms = h("span", { class: "muted small figures" });
  const element = h(
    "li",
    {},
    mark,
    h("div", { class: "grow" }, h("strong", {}, STAGES[stage].name, optional), what),
    h("div", { class: "loading-state" }, status, ms),
  );
  let shown = "";
  const update = (service) => {
    const [symbol, words] = STATUSES[service.status];
    element.dataset.status = service.status;
    if (shown !== symbol) mark.replaceChildren(icon(symbol));
    shown = symbol;
    setText(what, engineOf(service));
    setText(optional, service.critical === false ? " (not needed)" : "");
    setText(status, service.detail ?? words);
    setText(ms, [warmTimes(service), remaining(service.eta_s)].filter(Boolean).join(" · "));
  };
  return { element, update };
}
