// A transcript whose words light up while its recording plays. Without times for words, whole segments do.

import { h, scrolling } from "./dom.js";

export class Transcript {
  #spans = [];
  #now = null;

  /** `onSeek(seconds)` is called when a word is clicked. */
  constructor(transcript, onSeek) {
    const parts = transcript.segments.length ? transcript.segments.flatMap(pieces) : [transcript.text];
    const nodes = parts.map((part) => (typeof part === "string" ? part : this.#span(part)));
    const box = { class: "words", dir: "auto", lang: transcript.language, ...scrolling(transcript.text, "Transcript") };
    this.element = h("p", box, ...nodes);
    // The slider of the player does the same for the keyboard; a tab stop per word would be in the way.
    this.element.addEventListener("click", ({ target }) => target.dataset.start && onSeek(Number(target.dataset.start)));
  }

  #span({ text, start, end }) {
    const element = h("span", { "data-start": start }, text);
    this.#spans.push({ element, start, end });
    return element;
  }

  /** Light up what is spoken at this second. */
  at(seconds, isPlaying) {
    this.element.classList.toggle("following", isPlaying || seconds > 0);
    const place = this.#spans.findLastIndex(({ start }) => start <= seconds);
    const now = isPlaying && place >= 0 ? this.#spans[place].element : null;
    if (now === this.#now) return;
    this.#now?.classList.remove("now");
    now?.classList.add("now");
    this.#now = now;
    this.#spans.forEach(({ element }, index) => element.classList.toggle("said", index <= place));
    if (now) this.#keepInView(now);
  }

  /** Long transcripts scroll by themselves; the page must not. */
  #keepInView(word) {
    const [box, line] = [this.element.getBoundingClientRect(), word.getBoundingClientRect()];
    if (line.top < box.top || line.bottom > box.bottom) this.element.scrollTop += line.top - box.top - box.height / 3;
  }
}

/** A segment as texts and timed words. The words are looked up in its text, which knows where blanks belong. */
function pieces(segment) {
  const { text, start, end, words } = segment;
  if (!words.length) return [{ text, start, end }, " "];
  const found = [];
  let place = 0;
  for (const word of words) {
    const spoken = word.text.trim();
    const at = text.indexOf(spoken, place);
    if (at < 0) {
      found.push(" ", { ...word, text: spoken });
      continue;
    }
    found.push(text.slice(place, at), { ...word, text: spoken });
    place = at + spoken.length;
  }
  return [...found, text.slice(place), " "];
}
