// How numbers, times and the words of the API read on the page.

export const STAGES = {
  stt: { name: "Speech to text", brings: "Transcript" },
  llm: { name: "Language model", brings: "Reply" },
  tts: { name: "Text to speech", brings: "Speech" },
};

/** Each state of the fleet, and what to tell somebody who waits. */
export const STATES_OF_FLEET = {
  INITIALIZING: ["Getting ready", "Waiting for the workers to report."],
  LOADING_MODELS: ["Loading the models", "This happens once, when the workers start."],
  WARMING_UP: ["Warming up", "Each model is tried out before it takes your notes."],
  ERROR: ["Something is in the way", "The workers have reported what; it is listed below."],
};

/** Each status of an engine: its symbol and its word. */
export const STATUSES = {
  waiting: ["dash", "waiting"],
  loading: ["spin", "loading"],
  warming: ["spin", "warming up"],
  ready: ["check", "ready"],
  failed: ["cross", "failed"],
};

/** How long an engine took. */
export function warmTimes({ load_time_ms: load, warmup_time_ms: warmup }) {
  const parts = [
    [load, "loaded in"],
    [warmup, "warm in"],
  ];
  return parts
    .filter(([ms]) => (ms ?? null) !== null)
    .map(([ms, words]) => `${words} ${Math.round(ms).toLocaleString("en")} ms`)
    .join(" · ");
}

/** What earlier starts say of this one; nothing where they do not tell. */
export function remaining(eta) {
  if (!eta) return "";
  const words = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
  const [half, most] = [words(eta.p50), words(eta.p90)];
  return half === most ? `about ${half} to go` : `about ${half} to go, seldom over ${most}`;
}

export const count = (number, thing, ending = "s") => `${number} ${thing}${number === 1 ? "" : ending}`;

/** What a stage or a run is worked on with, as far as known. */
export function engineOf({ engine, model, device }) {
  return [engine, model !== engine && model, device].filter(Boolean).join(" · ");
}

/** "stt: the model is missing" with the stage's name. */
export function inWords(remark) {
  const [, stage, words] = /^(stt|llm|tts): (.*)$/s.exec(remark) ?? [];
  return stage ? `${STAGES[stage].name}: ${words}` : remark;
}

export const KINDS = {
  voice_note: { name: "Voice note", choice: "Answer aloud", icon: "mic", from: "note", stages: ["stt", "llm", "tts"] },
  transcription: { name: "Transcription", choice: "Only write it down", icon: "mic", from: "note", stages: ["stt"] },
  chat: { name: "Chat", choice: "Answer aloud", icon: "chat", from: "text", stages: ["llm", "tts"] },
  reply: { name: "Reply", choice: "Answer in writing", icon: "chat", from: "text", stages: ["llm"] },
  speech: { name: "Speech", choice: "Read it aloud", icon: "speaker", from: "text", stages: ["tts"] },
};

export const STATES = {
  queued: "Waiting",
  running: "Working",
  succeeded: "Done",
  failed: "Failed",
  canceled: "Canceled",
};

/** Seconds as 0:07 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${clock(ms / 1000)} min`;
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${Math.round(bytes / 1000)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** "2 minutes ago"; a date once it is more than a week. */
export function ago(moment) {
  const seconds = (Date.now() - moment.getTime()) / 1000;
  if (seconds > 7 * 86_400) return moment.toLocaleDateString("en", { dateStyle: "medium" });
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? [];
  return unit ? relative.format(-Math.floor(seconds / length), unit) : "just now";
}
