// One job as a card: where it stands, what it has brought, what can be done with it.

import { cancelJob, deleteJob, fetchBlob, jobPath, retryJob } from "./api.js";
import { confirmDeletion } from "./confirm.js";
import { announce, h, icon, scrolling, setText } from "./dom.js";
import { isOpen } from "./jobs.js";
import { languageName } from "./languages.js";
import { Player } from "./player.js";
import { findRecording } from "./recordings.js";
import { StageRow, stageTable } from "./stages.js";
import { Transcript } from "./transcript.js";
import { KINDS, STATES, ago, clock, inWords } from "./words.js";

const TRANSCRIPTS = [
  ["text", "txt", "Text"],
  ["srt", "srt", "SRT"],
  ["vtt", "vtt", "VTT"],
  ["json", "json", "JSON"],
];

export class Card {
  #shown = "";
  #stages = new StageRow();
  #players = [];
  #recording = null;
  #transcript = null;

  /** `changed(job)` is called with what an action's answer told, `gone(id)` once the job is deleted. */
  constructor(job, { changed, gone }) {
    Object.assign(this, { id: job.id, changed, gone });
    this.#build(job);
    this.update(job);
    if (job.note) this.#showRecording(job);
  }

  #build(job) {
    const kind = KINDS[job.kind];
    const title = `title-${job.id}`;
    this.state = h("span", { class: "pill" });
    this.time = h("time", { class: "muted small", datetime: job.created_at });
    this.source = h("div", { class: "source" });
    this.results = h("div", { class: "results" });
    this.error = h("div", { class: "problem" });
    this.downloads = h("div", { class: "row wrap downloads" });
    this.buttons = h("div", { class: "row wrap" });
    this.details = h("details", { class: "more details" }, h("summary", {}, "Details"));
    this.detailsBody = h("div", { class: "details-body" });
    this.details.append(this.detailsBody);
    const heading = h("h3", { id: title }, icon(kind.icon), kind.name);
    this.element = h(
      "li",
      { class: "card panel", "data-id": job.id },
      h(
        "article",
        { "aria-labelledby": title },
        h("header", { class: "row spread" }, heading, h("div", { class: "row" }, this.time, this.state)),
        this.source,
        this.#stages.element,
        this.error,
        this.results,
        h("footer", { class: "row spread wrap" }, this.downloads, this.buttons),
        this.details,
      ),
    );
    if (job.text !== null) this.source.append(h("p", { class: "said-text", dir: "auto", ...scrolling(job.text, "Your text") }, job.text));
    if (job.note) this.source.append(h("p", { class: "muted small" }, ...noteLine(job.note)));
  }

  /** Show the job as it is now. Only what has changed is touched, so that a player goes on and the focus stays. */
  update(job) {
    const text = JSON.stringify(job);
    if (text === this.#shown) return;
    const before = this.job;
    this.#shown = text;
    this.job = job;
    this.element.dataset.state = job.state;
    this.state.dataset.mood = { running: "busy", succeeded: "good", failed: "bad" }[job.state] ?? "plain";
    setText(this.state, isOpen(job) && job.progress > 0 ? `${STATES[job.state]} ${job.progress} %` : STATES[job.state]);
    this.tick();
    this.#stages.update(job);
    this.#showError(job);
    this.#showResults(job);
    this.#showDownloads(job);
    this.#showButtons(job);
    this.#showDetails(job);
    // No alerts within the card: a page that is opened would read out every failure of the past.
    if (before && before.state !== job.state) announce(said(job));
  }

  /** Time goes by. */
  tick() {
    setText(this.time, ago(new Date(this.job.created_at)));
  }

  close() {
    this.#players.forEach((player) => player.close());
    this.element.remove();
  }

  async #showRecording(job) {
    const blob = await findRecording(job.id);
    if (!blob) return;
    this.#recording = this.#player({
      label: "your recording",
      seconds: job.note.seconds,
      load: async () => blob,
      onTime: (seconds, isPlaying) => this.#transcript?.at(seconds, isPlaying),
    });
    this.source.append(this.#recording.element);
  }

  #player(options) {
    const player = new Player(options);
    this.#players.push(player);
    return player;
  }

  #showError(job) {
    if (job.state !== "failed" || !job.error) this.error.replaceChildren();
    else this.error.replaceChildren(h("strong", {}, job.error.title), h("p", {}, job.error.detail));
  }

  #showResults(job) {
    this.#once("transcript", job.transcript, () => {
      const heard = languageName(job.transcript.language);
      this.#transcript = new Transcript(job.transcript, (seconds) => this.#recording?.seek(seconds));
      const silence = h("p", { class: "muted" }, "No speech was heard.");
      const body = job.transcript.text.trim() ? this.#transcript.element : silence;
      return result("Transcript", heard, body);
    });
    this.#once("reply", job.reply, () => {
      const { text } = job.reply;
      return result("Reply", "", h("p", { class: "words", dir: "auto", ...scrolling(text, "Reply") }, text));
    });
    this.#once("audio", job.audio, () => {
      const player = this.#player({
        label: "the spoken reply",
        seconds: job.audio.seconds,
        load: () => fetchBlob(`${jobPath(job.id)}/audio`),
      });
      return result(job.kind === "speech" ? "Speech" : "Spoken reply", "", player.element);
    });
  }

  /** A result is shown when it is first there: a finished stage is never repeated. */
  #once(name, isThere, make) {
    if (!isThere || this.results.querySelector(`[data-result="${name}"]`)) return;
    const part = make();
    part.dataset.result = name;
    this.results.append(part);
  }

  #showDownloads(job) {
    const wanted = [];
    if (job.transcript?.text.trim()) {
      for (const [format, ending, name] of TRANSCRIPTS) {
        wanted.push({ name, path: `transcript?format=${format}`, ending, what: "transcript" });
      }
    }
    if (job.audio) wanted.push({ name: "Audio", path: "audio", ending: job.audio.format, what: "speech" });
    if (this.downloads.children.length === wanted.length) return;
    this.downloads.replaceChildren(
      ...wanted.map(({ name, path, ending, what }) => {
        const save = async () => saveAs(await fetchBlob(`${jobPath(job.id)}/${path}`), `${what}-${job.id}.${ending}`);
        return this.#button("down", name, save, { "aria-label": `Download ${what} as ${name}` });
      }),
    );
  }

  #showButtons(job) {
    const names = ["cancel", "retry"].filter((name) => name in job.links);
    if (this.buttons.dataset.names === names.join()) return;
    const hadFocus = this.buttons.contains(document.activeElement);
    this.buttons.dataset.names = names.join();
    const cancel = async () => this.changed(await cancelJob(this.id));
    const retry = async () => this.changed(await retryJob(this.id));
    this.buttons.replaceChildren(
      ...(names.includes("cancel") ? [this.#button("cross", "Cancel", cancel)] : []),
      ...(names.includes("retry") ? [this.#button("again", "Try again", retry)] : []),
      this.#button("bin", "Delete", () => this.#delete()),
    );
    // The button that was just used may be gone; its neighbour takes the focus, not the top of the page.
    if (hadFocus) this.buttons.firstElementChild.focus();
  }

  async #delete() {
    if (!(await confirmDeletion(`${KINDS[this.job.kind].name}, ${ago(new Date(this.job.created_at))}`))) return;
    await deleteJob(this.id);
    this.gone(this.id);
  }

  #showDetails(job) {
    const remarks = h("ul", { class: "small muted" }, ...job.degradations.map((words) => h("li", {}, inWords(words))));
    this.detailsBody.replaceChildren(
      stageTable(job),
      ...(job.degradations.length ? [h("p", { class: "small" }, "Less than was asked for:"), remarks] : []),
      h("p", { class: "small muted" }, "Job ", h("code", {}, job.id)),
    );
  }

  /** A button that shows on the card what goes wrong with its action. */
  #button(symbol, name, action, properties = {}) {
    const act = () => this.#act(action);
    return h("button", { type: "button", class: "button quiet small", onclick: act, ...properties }, icon(symbol), name);
  }

  async #act(action) {
    this.error.replaceChildren();
    try {
      await action();
    } catch (problem) {
      if (!problem.detail) throw problem;
      this.error.replaceChildren(h("strong", {}, problem.title), h("p", {}, problem.detail));
      announce(`${problem.title}. ${problem.detail}`);
    }
  }
}

/** Its new state in words, and why if it has failed. */
function said({ kind, state, error }) {
  const words = `${KINDS[kind].name}: ${STATES[state]}`;
  return state === "failed" && error ? `${words}. ${error.title}` : words;
}

function noteLine(note) {
  return [note.file_name && h("bdi", {}, note.file_name), note.file_name && " · ", clock(note.seconds)];
}

function result(title, remark, body) {
  return h("section", { class: "result" }, h("h4", {}, title, h("span", { class: "muted" }, remark)), body);
}

/** By way of a blob: a plain link could not send the key. */
function saveAs(blob, fileName) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: fileName }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
