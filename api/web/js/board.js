// The list of jobs: a card each, newest first.

import { Card } from "./card.js";
import { byId, calmly, h } from "./dom.js";
import { dropRecording } from "./recordings.js";

const TICK_MS = 30_000;

export class Board {
  #cards = new Map();

  constructor() {
    setInterval(() => this.#cards.forEach((card) => card.tick()), TICK_MS);
  }

  /** Wire the board to the jobs that it shows. */
  attach(jobs) {
    this.jobs = jobs;
    byId("more").addEventListener("click", () => this.#more());
  }

  show(job) {
    const card = this.#cards.get(job.id);
    if (card) card.update(job);
    else this.#add(job);
    byId("empty").hidden = true;
  }

  /** Bring a job into view where it is out of it, as on a phone, where it comes below what sent it. */
  reveal(id) {
    const { element } = this.#cards.get(id);
    const { top } = element.getBoundingClientRect();
    if (top >= 0 && top < innerHeight * 0.6) return;
    element.scrollIntoView({ behavior: calmly() ? "auto" : "smooth", block: "start" });
  }

  remove(id) {
    this.#cards.get(id)?.close();
    this.#cards.delete(id);
    byId("empty").hidden = this.#cards.size > 0;
  }

  showMore(hasMore) {
    byId("more").hidden = !hasMore;
    byId("empty").hidden = this.#cards.size > 0;
  }

  showProblem(problem) {
    const place = byId("board-problem");
    if (problem === null) {
      place.replaceChildren();
      return;
    }
    const parts = [h("strong", {}, problem.title ?? "Something went wrong"), h("p", {}, problem.detail ?? problem.message)];
    if (problem.status === 401) {
      parts.push(h("button", { type: "button", class: "button small", onclick: () => this.jobs.start() }, "Enter a key"));
    }
    place.replaceChildren(...parts);
  }

  /** Put a new card where its time says. Ids begin with their time, so they sort. */
  #add(job) {
    const card = new Card(job, { changed: (now) => this.jobs.put(now), gone: (id) => this.#gone(id) });
    const next = [...this.#cards.keys()].filter((id) => id < job.id).sort().at(-1);
    this.#cards.set(job.id, card);
    byId("cards").insertBefore(card.element, next ? this.#cards.get(next).element : null);
  }

  #gone(id) {
    const neighbour = this.#cards.get(id).element.nextElementSibling ?? byId("board-title");
    this.jobs.drop(id);
    dropRecording(id);
    neighbour.tabIndex = -1;
    neighbour.focus();
  }

  async #more() {
    const button = byId("more");
    button.disabled = true;
    try {
      const [first] = await this.jobs.more();
      if (first) {
        const card = this.#cards.get(first.id).element;
        card.tabIndex = -1;
        card.focus({ preventScroll: true });
      }
    } catch (problem) {
      this.showProblem(problem);
    } finally {
      button.disabled = false;
    }
  }
}
