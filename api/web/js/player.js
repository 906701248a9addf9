// Plays a recording: a button, a waveform to seek in, a clock. Fetches what it plays when it comes into view.

import { h, icon, setText } from "./dom.js";
import { bars, drawing, levelsOf } from "./waveform.js";
import { clock } from "./words.js";

const BARS = 72;
const STEP_S = 5;

let playing = null; // one at a time

const inView = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    inView.unobserve(target);
    target.dispatchEvent(new Event("inview"));
  }
});

export class Player {
  #audio = new Audio();
  #button;
  #slider;
  #time;
  #played;
  #paths;
  #loading = null;
  #address = null;
  #duration;

  /** label: what is played. seconds: how long it is, as far as known. load: brings the blob. onTime(s): it is there now. */
  constructor({ label, seconds = 0, load, onTime = () => {}, unplayable = "This browser cannot play it." }) {
    Object.assign(this, { label, load, onTime, unplayable });
    this.#duration = seconds;
    this.#build();
    const audio = this.#audio;
    audio.preload = "auto";
    audio.addEventListener("play", () => this.#started());
    audio.addEventListener("pause", () => this.#show());
    audio.addEventListener("ended", () => this.#ended());
    audio.addEventListener("error", () => this.#address && this.#fail(this.unplayable));
    this.element.addEventListener("inview", () => this.prepare());
    inView.observe(this.element);
  }

  #build() {
    const { picture, paths } = drawing(BARS, "bar-rest", "bar-played");
    this.#paths = paths;
    this.#played = paths[1];
    paths.forEach((path) => path.setAttribute("d", bars(Array(BARS).fill(0))));
    this.#button = h("button", { type: "button", class: "play", onclick: () => this.toggle() }, icon("play"));
    const what = { role: "slider", "aria-label": `Position in ${this.label}`, "aria-valuemin": "0" };
    this.#slider = h("div", { class: "wave", tabindex: "0", ...what }, picture);
    this.#slider.addEventListener("keydown", (event) => this.#key(event));
    this.#slider.addEventListener("pointerdown", (event) => this.#drag(event));
    this.#time = h("span", { class: "figures small muted" });
    this.problem = h("p", { class: "problem", role: "alert" });
    this.element = h("div", { class: "player" }, this.#button, this.#slider, this.#time, this.problem);
    this.#show();
  }

  /** Fetch and look at the recording, once; again if that has failed. */
  prepare() {
    this.#loading ??= this.#prepare().catch((problem) => {
      this.#loading = null;
      this.#fail(problem.detail ?? this.unplayable);
    });
    return this.#loading;
  }

  async #prepare() {
    const blob = await this.load();
    setText(this.problem, "");
    this.#address = URL.createObjectURL(blob);
    this.#audio.src = this.#address;
    const { levels, seconds } = await levelsOf(blob, BARS);
    this.#duration = seconds;
    this.#paths.forEach((path) => path.setAttribute("d", bars(levels)));
    this.element.dataset.loaded = "";
    this.#show();
  }

  async toggle() {
    if (!this.#audio.paused) {
      this.#audio.pause();
      return;
    }
    await this.prepare();
    if (!this.#address) return;
    await this.#audio.play().catch((error) => error.name !== "AbortError" && this.#fail(this.unplayable));
  }

  async seek(seconds) {
    await this.prepare();
    this.#audio.currentTime = Math.min(Math.max(0, seconds), this.#duration);
    this.#show();
  }

  /** Stop, and let go of the recording. */
  close() {
    inView.unobserve(this.element);
    this.#audio.pause();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    this.#audio.removeAttribute("src");
  }

  #started() {
    if (playing !== this) playing?.pause();
    playing = this;
    // The element itself tells of the time four times a second, too seldom for words that light up.
    const tick = () => {
      this.#show();
      if (!this.#audio.paused) requestAnimationFrame(tick);
    };
    tick();
  }

  pause() {
    this.#audio.pause();
  }

  #ended() {
    this.#audio.currentTime = 0;
    this.#show();
  }

  #show() {
    const now = this.#audio.currentTime;
    const isPlaying = !this.#audio.paused;
    const share = this.#duration ? Math.min(1, now / this.#duration) : 0;
    this.#played.style.clipPath = `inset(0 ${100 - share * 100}% 0 0)`;
    if (this.element.dataset.playing !== String(isPlaying)) {
      this.element.dataset.playing = String(isPlaying);
      this.#button.replaceChildren(icon(isPlaying ? "pause" : "play"));
      this.#button.setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"} ${this.label}`);
    }
    const position = clock(now || isPlaying ? now : this.#duration);
    setText(this.#time, position);
    this.#slider.setAttribute("aria-valuemax", Math.ceil(this.#duration));
    this.#slider.setAttribute("aria-valuenow", Math.floor(now));
    this.#slider.setAttribute("aria-valuetext", `${clock(now)} of ${clock(this.#duration)}`);
    this.onTime(now, isPlaying);
  }

  #key(event) {
    const now = this.#audio.currentTime;
    const [back, on] = [now - STEP_S, now + STEP_S];
    const places = { ArrowLeft: back, ArrowDown: back, ArrowRight: on, ArrowUp: on, Home: 0, End: this.#duration };
    if (event.key === " " || event.key === "Enter") this.toggle();
    else if (event.key in places) this.seek(places[event.key]);
    else return;
    event.preventDefault();
  }

  #drag(event) {
    const slider = this.#slider;
    const isTouch = event.pointerType === "touch";
    const move = ({ clientX, clientY }) => {
      // A finger that goes up or down turns the page.
      if (isTouch && Math.abs(clientY - event.clientY) > Math.abs(clientX - event.clientX)) return;
      const box = slider.getBoundingClientRect();
      this.seek(((clientX - box.left) / box.width) * this.#duration);
    };
    const following = new AbortController();
    slider.setPointerCapture(event.pointerId);
    for (const name of ["pointermove", "pointerup"]) slider.addEventListener(name, move, { signal: following.signal });
    slider.addEventListener("lostpointercapture", () => following.abort(), { once: true });
    if (!isTouch) move(event); // for a finger, once it is up again: where it goes is not known yet
  }

  #fail(words) {
    setText(this.problem, words);
  }
}
