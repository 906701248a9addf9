// Which of the two views is shown: one's notes, or the fleet at work. The address says so, so that it can be kept.

import { byId } from "./dom.js";

const TITLES = { notes: "Voxqueue", operate: "Voxqueue: the fleet at work" };

export class Views {
  #isOffered = false;

  /** `onChange(name)` is called with "notes" or "operate", also for the one that it begins with. */
  constructor({ onChange }) {
    this.onChange = onChange;
    window.addEventListener("hashchange", () => {
      this.#show();
      const heading = { notes: "composer-title", operate: "operate-title" }[this.current];
      byId(heading).focus({ preventScroll: true });
      window.scrollTo(0, 0);
    });
  }

  get current() {
    return location.hash === "#operate" ? "operate" : "notes";
  }

  begin() {
    this.#show();
  }

  /** Show the way to the operators' view, to those who may see it. */
  offer(isAllowed) {
    this.#isOffered = isAllowed;
    this.#showWays();
  }

  #show() {
    for (const name of Object.keys(TITLES)) byId(`view-${name}`).hidden = name !== this.current;
    document.title = TITLES[this.current];
    for (const way of byId("views").children) {
      if (way.hash === `#${this.current}`) way.setAttribute("aria-current", "page");
      else way.removeAttribute("aria-current");
    }
    this.#showWays();
    this.onChange(this.current);
  }

  #showWays() {
    byId("views").hidden = !this.#isOffered && this.current === "notes";
  }
}
