// Webhook deliveries of the key's tenant: what was sent or is to be, every attempt, and sending one again.

import { listDeliveries, redeliver, showDelivery } from "./api.js";
import { announce, byId, choice, h, icon, setText } from "./dom.js";
import { ago, clock, count, duration } from "./words.js";

const STATES = { "": "All", pending: "Waiting", succeeded: "Delivered", failed: "Failed" };
const MOODS = { pending: "warn", succeeded: "good", failed: "bad" };
const EVERY_MS = 4_000;

export class Deliveries {
  #state = "";
  #rows = new Map();
  #cursor = null;
  #turned = false; // whether older ones were asked for
  #askedAt = -Infinity;

  constructor() {
    byId("deliveries-more").addEventListener("click", () => this.#look(this.#cursor));
    const choose = (state) => this.#choose(state);
    const choices = Object.entries(STATES).map(([state, name]) => choice("delivery-state", state, name, state === "", choose));
    byId("delivery-states").append(...choices);
  }

  #choose(state) {
    this.#state = state;
    this.clear();
    this.#look();
  }

  /** Forget what is shown; the next refresh asks. */
  clear() {
    this.#rows.forEach((row) => row.element.remove());
    this.#rows.clear();
    this.#turned = false;
    this.#askedAt = -Infinity;
  }

  /** Called often; asks now and then. */
  refresh() {
    if (performance.now() - this.#askedAt >= EVERY_MS) this.#look();
  }

  async #look(cursor = null) {
    const state = this.#state;
    this.#askedAt = performance.now();
    try {
      const page = await listDeliveries({ state, cursor });
      if (state !== this.#state) return;
      if (cursor !== null) this.#turned = true;
      if (cursor !== null || !this.#turned) this.#cursor = page.next_cursor;
      this.#show(page.deliveries, cursor !== null);
      this.#fail(null);
    } catch (problem) {
      this.#fail(problem);
    }
  }

  #show(deliveries, isOlder) {
    const list = byId("deliveries");
    let before = isOlder ? null : list.firstElementChild;
    for (const delivery of deliveries) {
      const known = this.#rows.get(delivery.id);
      if (known) {
        known.update(delivery);
        before = known.element.nextElementSibling;
        continue;
      }
      const row = new Row(delivery, { changed: () => this.#look(), failed: (problem) => this.#fail(problem) });
      this.#rows.set(delivery.id, row);
      list.insertBefore(row.element, before);
    }
    if (!isOlder && !this.#turned) this.#dropBeyond(new Set(deliveries.map(({ id }) => id)));
    byId("deliveries-more").hidden = this.#cursor === null;
    byId("deliveries-none").hidden = this.#rows.size > 0;
    const none = "Nothing is owed to anybody. Register an endpoint, or name a webhook address with a job.";
    setText(byId("deliveries-none"), this.#state ? "There is none of these." : none);
  }

  /** What does not stand on the newest page any more, unless somebody reads it. */
  #dropBeyond(listed) {
    for (const [id, row] of this.#rows) {
      if (listed.has(id) || row.isOpen) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
  }

  #fail(problem) {
    const parts = problem === null ? [] : [h("strong", {}, problem.title), h("p", {}, problem.detail)];
    if (problem !== null && !problem.detail) throw problem;
    byId("deliveries-problem").replaceChildren(...parts);
  }
}

/** One delivery; its attempts are fetched when it is opened, and again when there is another one. */
class Row {
  #attempts = -1;

  constructor(delivery, { changed, failed }) {
    Object.assign(this, { changed, failed });
    this.state = h("span", { class: "pill" });
    this.event = h("strong", {}, delivery.event.type);
    this.about = h("span", { class: "muted small" });
    this.body = h("div", { class: "delivery-body" });
    this.where = h("span", { class: "grow" }, this.event, h("span", { class: "muted small where" }, delivery.url));
    this.box = h("details", { ontoggle: () => this.#open() }, h("summary", {}, this.state, this.where, this.about), this.body);
    this.element = h("li", { class: "delivery", "data-id": delivery.id }, this.box);
    this.update(delivery);
  }

  get isOpen() {
    return this.box.open;
  }

  update(delivery) {
    this.delivery = delivery;
    this.state.dataset.mood = MOODS[delivery.state];
    setText(this.state, STATES[delivery.state]);
    setText(this.about, `${count(delivery.attempt_count, "attempt")} · ${ago(new Date(delivery.created_at))}${next(delivery)}`);
    if (this.isOpen && delivery.attempt_count !== this.#attempts) this.#open();
  }

  async #open() {
    if (!this.isOpen || this.#attempts === this.delivery.attempt_count) return;
    this.#attempts = this.delivery.attempt_count;
    try {
      this.#show(await showDelivery(this.delivery.id));
    } catch (problem) {
      this.#attempts = -1;
      this.failed(problem);
    }
  }

  #show(detail) {
    const hadFocus = this.body.contains(document.activeElement);
    const again = h("button", { type: "button", class: "button small", onclick: () => this.#redeliver() }, icon("again"), "Send again");
    const id = h("p", { class: "small muted" }, "Event ", h("code", {}, detail.event.id), detail.event.job_id ? ` of job ${detail.event.job_id}` : "");
    const none = h("p", { class: "muted small" }, "Nobody has tried yet.");
    this.body.replaceChildren(detail.attempts.length ? attemptTable(detail.attempts) : none, id, again);
    if (hadFocus) again.focus();
  }

  async #redeliver() {
    try {
      await redeliver(this.delivery.id);
      announce("It is being sent again");
      this.changed();
    } catch (problem) {
      this.failed(problem);
    }
  }
}

function next({ state, next_attempt_at: at }) {
  if (state !== "pending" || !at) return "";
  const seconds = (new Date(at) - Date.now()) / 1000;
  return seconds > 1 ? ` · next in ${seconds < 60 ? `${Math.ceil(seconds)} s` : `${clock(seconds)} min`}` : " · due now";
}

function attemptTable(attempts) {
  const head = h("tr", {}, ...["#", "When", "Status", "Took", "Answer"].map((name) => h("th", { scope: "col" }, name)));
  const rows = attempts.map((attempt) => {
    const when = new Date(attempt.started_at).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium", hour12: false });
    const cells = [when, attempt.status ?? "none", duration(attempt.duration_ms), attempt.error || attempt.answer || "–"];
    return h("tr", {}, h("th", { scope: "row" }, String(attempt.number)), ...cells.map((text) => h("td", {}, String(text))));
  });
  const table = h("table", { class: "small figures" }, h("thead", {}, head), h("tbody", {}, ...rows));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Attempts" }, table);
}
