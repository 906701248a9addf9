// Records from the microphone, with pauses, and tells how loud it is. Shows nothing.

import { Problem } from "./api.js";

const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const LEVEL_EVERY_MS = 50;

const REASONS = {
  NotAllowedError: ["The microphone is blocked", "Allow it in the browser's settings, or choose a file instead."],
  NotFoundError: ["There is no microphone", "Connect one and try again, or choose a file instead."],
  NotReadableError: ["The microphone is in use", "Another program holds it. Close that, or choose a file instead."],
};

export class Recorder {
  #recorder = null;
  #stream = null;
  #context = null;
  #timer = null;
  #parts = [];
  #recorded = 0; // ms before the last pause
  #since = null; // when recording went on
  #finished = null;

  /** onLevel(level, seconds): 0 to 1, twenty times a second. onEnd(): the microphone went away. */
  constructor({ onLevel, onEnd }) {
    Object.assign(this, { onLevel, onEnd });
  }

  get isOpen() {
    return this.#recorder !== null;
  }

  get isPaused() {
    return this.#recorder?.state === "paused";
  }

  get seconds() {
    return (this.#recorded + (this.#since === null ? 0 : performance.now() - this.#since)) / 1000;
  }

  /** Ask for the microphone and begin. Throws `Problem`. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
      throw new Problem({
        title: "This page cannot record",
        detail: "Browsers record on https addresses and on this machine only. Choose a file instead.",
      });
    }
    this.#stream = await openMicrophone();
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(this.#stream, { mimeType, audioBitsPerSecond: 48_000 });
    this.#parts = [];
    this.#recorded = 0;
    recorder.addEventListener("dataavailable", ({ data }) => data.size && this.#parts.push(data));
    this.#finished = new Promise((resolve) => recorder.addEventListener("stop", resolve, { once: true }));
    this.#stream.getAudioTracks()[0].addEventListener("ended", () => this.onEnd());
    // In pieces, so that what was recorded is there even if the microphone is pulled.
    recorder.start(1_000);
    this.#recorder = recorder;
    this.#since = performance.now();
    this.#listen();
  }

  pause() {
    this.#recorder.pause();
    this.#recorded += performance.now() - this.#since;
    this.#since = null;
  }

  resume() {
    this.#recorder.resume();
    this.#since = performance.now();
  }

  /** End it; the recording and its seconds. */
  async stop() {
    const [recorder, seconds] = [this.#recorder, this.seconds];
    if (recorder.state !== "inactive") recorder.stop();
    await this.#finished;
    const blob = new Blob(this.#parts, { type: recorder.mimeType });
    this.#close();
    return { blob, seconds };
  }

  discard() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    this.#close();
  }

  #listen() {
    this.#context = new AudioContext();
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 2048;
    this.#context.createMediaStreamSource(this.#stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#timer = setInterval(() => {
      if (this.isPaused) return;
      analyser.getFloatTimeDomainData(samples);
      this.onLevel(loudness(samples), this.seconds);
    }, LEVEL_EVERY_MS);
  }

  #close() {
    clearInterval(this.#timer);
    this.#context.close();
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#recorder = null;
    this.#since = null;
  }
}

async function openMicrophone() {
  try {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const [title, detail] = REASONS[error.name] ?? ["The microphone does not work", error.message];
    throw new Problem({ title, detail });
  }
}

/** 0 at -60 dB and less, 1 at full scale: the ear hears ratios. */
function loudness(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60));
}
