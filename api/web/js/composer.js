// Makes a new note or text and sends it: record or choose a file, listen to it, choose what to make of it, upload.

import { Problem, sendNote, sendText } from "./api.js";
import { announce, byId, h, icon, setBar, setText } from "./dom.js";
import { Meter } from "./meter.js";
import { Options } from "./options.js";
import { Player } from "./player.js";
import { Recorder } from "./recorder.js";
import { keepRecording } from "./recordings.js";
import { clock, size } from "./words.js";

export class Composer {
  #recorder = new Recorder({
    onLevel: (level, seconds) => this.#level(level, seconds),
    onEnd: () => this.#microphoneLost(),
  });
  #meter = new Meter(byId("meter"));
  #draft = null;
  #player = null;
  #upload = null;
  #from = "note";
  #lastTry = { what: null, key: null };

  /** `onSent(job)` is called with what was accepted. */
  constructor({ onSent }) {
    this.onSent = onSent;
    this.options = new Options();
    this.#wireTabs();
    this.#wireRecorder();
    this.#wireFiles();
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("cancel-upload").addEventListener("click", () => this.#upload?.abort());
    byId("text").addEventListener("input", () => this.#showSend());
    window.addEventListener("beforeunload", (event) => (this.isRecording || this.#draft) && event.preventDefault());
    this.#showSend();
  }

  get isRecording() {
    return this.#recorder.isOpen;
  }

  // --- choosing ---

  #wireTabs() {
    const tabs = { note: byId("tab-note"), text: byId("tab-text") };
    for (const [from, tab] of Object.entries(tabs)) {
      tab.addEventListener("click", () => this.#turnTo(from));
      tab.addEventListener("keydown", ({ key }) => {
        if (key !== "ArrowLeft" && key !== "ArrowRight") return;
        const other = from === "note" ? "text" : "note";
        this.#turnTo(other);
        tabs[other].focus();
      });
    }
  }

  #turnTo(from) {
    this.#from = from;
    for (const name of ["note", "text"]) {
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === from));
      byId(`tab-${name}`).tabIndex = name === from ? 0 : -1;
      byId(`panel-${name}`).hidden = name !== from;
    }
    this.options.showFor(from);
    this.#fail(null);
    this.#showSend();
  }

  #wireFiles() {
    const [form, input] = [byId("composer"), byId("file")];
    input.addEventListener("change", () => {
      if (input.files.length) this.#take(input.files[0], input.files[0].name);
      input.value = "";
    });
    form.addEventListener("dragover", (event) => {
      event.preventDefault();
      form.classList.add("dropping");
    });
    form.addEventListener("dragleave", (event) => form.contains(event.relatedTarget) || form.classList.remove("dropping"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      form.classList.remove("dropping");
      const [file] = event.dataTransfer.files;
      if (!file || this.isRecording || this.#upload) return;
      this.#turnTo("note");
      this.#take(file, file.name);
    });
    byId("discard-draft").addEventListener("click", () => {
      this.#drop();
      byId("record").focus();
    });
  }

  // --- recording ---

  #wireRecorder() {
    byId("record").addEventListener("click", () => this.#record());
    byId("stop").addEventListener("click", () => this.#stop());
    byId("pause").addEventListener("click", () => this.#pause());
    byId("discard-recording").addEventListener("click", () => {
      this.#recorder.discard();
      this.#showStage("idle");
      byId("record").focus();
      announce("The recording was discarded");
    });
  }

  async #record() {
    this.#fail(null);
    byId("record").disabled = true;
    try {
      await this.#recorder.start();
      this.#meter.clear();
      this.#showPaused(false);
      this.#level(0, 0);
      this.#showStage("recording");
      byId("stop").focus();
      announce("Recording");
    } catch (problem) {
      this.#fail(problem);
    } finally {
      byId("record").disabled = false;
    }
  }

  #pause() {
    if (this.#recorder.isPaused) this.#recorder.resume();
    else this.#recorder.pause();
    this.#showPaused(this.#recorder.isPaused);
    announce(this.#recorder.isPaused ? "Paused" : "Recording");
  }

  #showPaused(isPaused) {
    const name = isPaused ? "Go on" : "Pause";
    byId("pause").replaceChildren(icon(isPaused ? "mic" : "pause"));
    byId("pause").setAttribute("aria-label", name);
    byId("pause").title = name;
    byId("stage-recording").classList.toggle("paused", isPaused);
    setText(byId("recording-state"), isPaused ? "Paused" : "Recording");
  }

  async #stop() {
    const { blob, seconds } = await this.#recorder.stop();
    const ending = /audio\/(\w+)/.exec(blob.type)?.[1] ?? "webm";
    this.#take(blob, `recording.${ending}`, "Recording", seconds);
    announce(`Recorded ${clock(seconds)}`);
    byId("send").focus();
  }

  async #microphoneLost() {
    if (!this.isRecording) return;
    await this.#stop();
    this.#fail(new Problem({ title: "The microphone went away", detail: "What it had heard until then is kept." }));
  }

  #level(level, seconds) {
    this.#meter.add(level);
    setText(byId("clock"), clock(seconds));
  }

  // --- the draft ---

  #take(blob, fileName, title = fileName, seconds = 0) {
    this.#drop();
    this.#fail(null);
    this.#draft = { blob, fileName };
    const unplayable = "This browser cannot play it. The server may still read it.";
    this.#player = new Player({ label: "the recording", seconds, load: async () => blob, unplayable });
    byId("draft-player").replaceChildren(this.#player.element);
    setText(byId("draft-name"), title);
    setText(byId("draft-size"), size(blob.size));
    this.#showStage("draft");
  }

  #drop() {
    this.#player?.close();
    this.#player = null;
    this.#draft = null;
    byId("draft-player").replaceChildren();
    this.#showStage("idle");
  }

  #showStage(name) {
    for (const stage of ["idle", "recording", "draft"]) byId(`stage-${stage}`).hidden = stage !== name;
    this.#showSend();
  }

  #showSend() {
    const isThere = this.#from === "note" ? this.#draft !== null : byId("text").value.trim() !== "";
    byId("send").disabled = !isThere || this.#upload !== null;
  }

  // --- sending ---

  async #send() {
    if (byId("send").disabled) return;
    this.#fail(null);
    this.#upload = new AbortController();
    this.#showUpload(true);
    let job = null;
    try {
      job = this.#from === "note" ? await this.#sendNote() : await this.#sendText();
    } catch (problem) {
      if (problem.name !== "AbortError") this.#fail(problem);
    } finally {
      this.#upload = null;
      this.#showUpload(false);
      this.#showSend();
    }
    if (!job) return;
    this.#lastTry = { what: null, key: null };
    this.onSent(job);
    announce("Sent");
  }

  async #sendNote() {
    const { blob, fileName } = this.#draft;
    const chosen = { ...this.options.chosen(), word_timestamps: "true" };
    const form = new FormData();
    for (const [name, value] of Object.entries(chosen)) form.append(name, value);
    form.append("file", blob, fileName);
    const job = await sendNote(form, this.#idempotencyKey([blob, JSON.stringify(chosen)]), {
      onProgress: (share) => this.#progress(share),
      signal: this.#upload.signal,
    });
    await keepRecording(job.id, blob);
    this.#drop();
    byId("record").focus({ preventScroll: true });
    return job;
  }

  async #sendText() {
    const body = { ...this.options.chosen(), text: byId("text").value };
    const job = await sendText(body, this.#idempotencyKey([JSON.stringify(body)]));
    byId("text").value = "";
    byId("text").focus({ preventScroll: true });
    return job;
  }

  /** The same key as last time if the same is sent again: an answer that was lost must not cost a second job. */
  #idempotencyKey(what) {
    const last = this.#lastTry.what ?? [];
    const isSame = last.length === what.length && what.every((part, place) => part === last[place]);
    if (!isSame) this.#lastTry = { what, key: randomKey() };
    return this.#lastTry.key;
  }

  #progress(share) {
    setBar(byId("upload-bar"), share * 100);
    setText(byId("upload-note"), share < 1 ? `Uploading, ${Math.floor(share * 100)} %` : "The server looks at it");
  }

  #showUpload(isUnderWay) {
    this.#progress(0);
    byId("uploading").hidden = !isUnderWay || this.#from === "text";
    byId("discard-draft").disabled = isUnderWay;
    byId("send").disabled = isUnderWay;
  }

  #fail(problem) {
    const place = byId("composer-error");
    if (problem === null) {
      place.replaceChildren();
      return;
    }
    if (!problem.detail) throw problem;
    const faults = (problem.errors ?? []).map(({ field, detail }) => h("li", {}, `${field} ${detail}`));
    place.replaceChildren(
      h("strong", {}, problem.title),
      faults.length > 1 ? h("ul", {}, ...faults) : h("p", {}, problem.detail),
    );
  }
}

/** crypto.randomUUID would need https. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
