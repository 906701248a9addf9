// The choices that go with a note or a text: kind, language, voice, instructions. They are remembered in this browser.

import { listVoices } from "./api.js";
import { byId, choice, h } from "./dom.js";
import { LANGUAGES, languageName } from "./languages.js";
import { KINDS } from "./words.js";

const PLACE = "voxqueue-choices";

export class Options {
  #from = "note";
  #kinds = { note: "voice_note", text: "chat" };

  constructor() {
    const remembered = JSON.parse(localStorage.getItem(PLACE) ?? "{}");
    this.wantedVoice = remembered.voice ?? "";
    Object.assign(this.#kinds, remembered.kinds);
    this.#fillLanguages(remembered.language ?? "");
    byId("instructions").value = remembered.instructions ?? "";
    byId("instructions-field").open = Boolean(remembered.instructions);
    byId("language").addEventListener("change", () => this.loadVoices());
    byId("voice").addEventListener("change", () => (this.wantedVoice = byId("voice").value));
    this.#fillVoices([]);
    this.showFor("note");
  }

  get kind() {
    return this.#kinds[this.#from];
  }

  /** Offer the kinds that start from a "note" or a "text". */
  showFor(from) {
    this.#from = from;
    const kinds = Object.entries(KINDS).filter(([, kind]) => kind.from === from);
    byId("kinds").replaceChildren(
      ...kinds.map(([name, kind]) => choice("kind", name, kind.choice, name === this.kind, (chosen) => this.#choose(chosen))),
    );
    this.#choose(this.kind);
  }

  #choose(kind) {
    this.#kinds[this.#from] = kind;
    const { stages } = KINDS[kind];
    byId("voice-field").hidden = !stages.includes("tts");
    byId("instructions-field").hidden = !stages.includes("llm");
  }

  /** What was chosen, as the API names it; what is left open is left out. */
  chosen() {
    const { stages } = KINDS[this.kind];
    const language = byId("language").value;
    const voice = stages.includes("tts") ? byId("voice").value : "";
    const instructions = stages.includes("llm") ? byId("instructions").value.trim() : "";
    const format = stages.includes("tts") ? playableFormat() : "";
    this.#remember();
    const all = { kind: this.kind, language, voice, instructions, audio_format: format };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
  }

  #remember() {
    const choices = {
      kinds: this.#kinds,
      language: byId("language").value,
      voice: this.wantedVoice,
      instructions: byId("instructions").value,
    };
    localStorage.setItem(PLACE, JSON.stringify(choices));
  }

  /** Offer the voices that the fleet has for the language. Without an answer, the engine's own choice is all there is. */
  async loadVoices() {
    const language = byId("language").value;
    const voices = await listVoices(language).catch(() => []);
    if (byId("language").value === language) this.#fillVoices(voices);
  }

  #fillVoices(voices) {
    const names = [...new Set(voices.map((voice) => voice.name))];
    const about = (name) => languageName(voices.find((voice) => voice.name === name).language);
    byId("voice").replaceChildren(
      h("option", { value: "" }, "Automatic"),
      ...names.map((name) => h("option", { value: name }, ["", name].includes(about(name)) ? name : `${name} (${about(name)})`)),
    );
    byId("voice").value = names.includes(this.wantedVoice) ? this.wantedVoice : "";
  }

  #fillLanguages(chosen) {
    byId("language").replaceChildren(
      h("option", { value: "" }, "Automatic"),
      ...Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code }, name)),
    );
    byId("language").value = chosen;
  }
}

/** Older iPhones play no Ogg. */
const playableFormat = () => (new Audio().canPlayType("audio/ogg; codecs=opus") ? "ogg" : "m4a");
