// Follows something on the server for as long as the page is open: by an event stream, or by asking where there is none.

import { reach } from "./api.js";

const SILENCE_MS = 40_000; // the server sends a heartbeat every 15 s
const FIRST_MS = { state: 6_000, heartbeat: 20_000 }; // until something must have come, if nothing holds it back
const WITHOUT_MS = 60_000; // before a stream is tried again where there was none
const MOST_PAUSE_MS = 8_000;

/**
 * Follow until `signal` aborts.
 *
 * path: the stream's address. tellsState: whether it begins with the present state. look: asks for that; called where
 * the stream does not begin with it, and every `pauseMs()` where there is no stream. hear(data): an event came.
 * lost(error): asking failed. live(bool): whether a stream is open.
 */
export async function follow({ path, tellsState = false, look, hear, lost, live = () => {}, pauseMs, signal }) {
  let failures = 0;
  let streamFrom = 0;
  while (!signal.aborted) {
    await untilVisible(signal);
    let pause = pauseMs();
    let stream = null;
    try {
      if (performance.now() >= streamFrom) {
        stream = await openStream(path, signal);
        if (!stream) streamFrom = performance.now() + WITHOUT_MS;
      }
      // After the stream is open, so that nothing falls between the two.
      if (!stream || !tellsState) await look();
      failures = 0;
      if (stream) {
        live(true);
        const cameThrough = await stream.read(hear, tellsState ? FIRST_MS.state : FIRST_MS.heartbeat);
        if (!cameThrough) streamFrom = performance.now() + WITHOUT_MS;
        pause = 250;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.name !== "AbortError") lost(error);
      pause = Math.min(MOST_PAUSE_MS, 500 * 1.6 ** failures++);
      if (error.retryAfter) pause = Math.max(pause, error.retryAfter * 1000);
    } finally {
      stream?.close();
      live(false);
    }
    await rest(pause, signal);
  }
}

/** The stream, or null where there is none. It is given up while nobody looks: browsers allow few at a time. */
async function openStream(path, signal) {
  const ending = new AbortController();
  const end = () => ending.abort();
  const endIfHidden = () => document.hidden && end();
  signal.addEventListener("abort", end);
  document.addEventListener("visibilitychange", endIfHidden);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, FIRST_MS.state);
  const close = () => {
    end();
    signal.removeEventListener("abort", end);
    document.removeEventListener("visibilitychange", endIfHidden);
  };
  try {
    const answer = await reach(path, { signal: ending.signal, headers: { Accept: "text/event-stream" } });
    return { read: (hear, firstMs) => read(answer, hear, end, firstMs), close };
  } catch (error) {
    close();
    if (error.status === 404 || (isLate && error.name === "AbortError")) return null;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Read to the end. False if nothing came within `firstMs`: something on the way holds streams back. */
async function read(answer, hear, giveUp, firstMs) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser(hear);
  let heldBack = false;
  let timer = setTimeout(() => {
    heldBack = true;
    giveUp();
  }, firstMs);
  try {
    for (;;) {
      // A connection that breaks ends the stream like one that is closed: asking anew says how things are.
      const { done, value } = await reader.read().catch(() => ({ done: true }));
      if (done) return !heldBack;
      clearTimeout(timer);
      timer = setTimeout(giveUp, SILENCE_MS);
      parser.feed(value);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Reads text/event-stream; EventSource would do so too, but sends no key. */
export class EventParser {
  #rest = "";
  #data = [];

  constructor(hear) {
    this.hear = hear;
  }

  feed(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    lines.forEach((line) => this.#take(line));
  }

  #take(line) {
    if (line.startsWith("data:")) this.#data.push(line.slice(5).trimStart());
    if (line !== "" || this.#data.length === 0) return;
    this.hear(JSON.parse(this.#data.join("\n")));
    this.#data = [];
  }
}

export function untilVisible(signal) {
  if (!document.hidden) return Promise.resolve();
  return until(signal, (done) => {
    const look = () => !document.hidden && done();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  });
}

export function rest(ms, signal) {
  return until(signal, (done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  });
}

/** Resolves when `begin` calls what it is given, or on abort; then undoes what `begin` has done. */
function until(signal, begin) {
  return new Promise((resolve) => {
    const finish = () => {
      undo();
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const undo = begin(finish);
    if (signal.aborted) finish();
    else signal.addEventListener("abort", finish);
  });
}
