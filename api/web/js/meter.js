// The level meter: what the microphone has heard lately, from right to left.

import { calmly } from "./dom.js";
import { bars, drawing } from "./waveform.js";

const BARS = 44;
const CALM_EVERY = 8; // with reduced motion, only every so many levels are drawn

export class Meter {
  #levels = Array(BARS).fill(0);
  #count = 0;

  constructor(place) {
    const { picture, paths } = drawing(BARS, "bar-live");
    this.path = paths[0];
    place.append(picture);
    this.clear();
  }

  add(level) {
    this.#levels = [...this.#levels.slice(1), level];
    this.#count += 1;
    if (!calmly() || this.#count % CALM_EVERY === 0) this.#draw();
  }

  clear() {
    this.#levels.fill(0);
    this.#draw();
  }

  #draw() {
    this.path.setAttribute("d", bars(this.#levels));
  }
}
