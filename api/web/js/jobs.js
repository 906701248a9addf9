// The jobs that the page knows, newest first, kept up to date by the server's stream. Shows nothing.

import { Problem, listJobs, showJob } from "./api.js";
import { follow } from "./streams.js";

const PAGE = 10;
const MOST = 200;
const OPEN = ["queued", "running"];
const POLL_OPEN_MS = 1_000;
const POLL_IDLE_MS = 5_000;

export const isOpen = (job) => OPEN.includes(job.state);

export class Jobs {
  #known = new Map();
  #cursor = null;
  #wanted = new Set();
  #fetching = false;
  #following = null;
  #tabs = new BroadcastChannel("voxqueue");

  /**
   * onJob(job): it is new or has changed. onGone(id). onMore(bool): there are older ones. onLive(bool): a stream is open.
   * onProblem(problem): the jobs cannot be had; null: they can again.
   */
  constructor(listeners) {
    Object.assign(this, listeners);
    // The stream tells of jobs that change, not of those that are gone.
    this.#tabs.addEventListener("message", ({ data }) => this.#forget(data.gone));
  }

  /** Follow what happens, from the beginning: what is known is forgotten. */
  start() {
    this.stop();
    [...this.#known.keys()].forEach((id) => this.#forget(id));
    this.#following = new AbortController();
    follow({
      path: "v1/events",
      look: () => this.#look(),
      hear: (line) => this.#want(line.id),
      lost: (problem) => {
        this.onProblem(problem);
        // Whoever was asked for a key and gave none is not asked again and again.
        if (problem.status === 401) this.stop();
      },
      live: this.onLive,
      pauseMs: () => ([...this.#known.values()].some(isOpen) ? POLL_OPEN_MS : POLL_IDLE_MS),
      signal: this.#following.signal,
    });
  }

  stop() {
    this.#following?.abort();
  }

  /** Take in what an answer told of a job. */
  put(job) {
    this.#known.set(job.id, job);
    this.onJob(job);
    // A busy tenant must not fill the page without end. What leaves it is there again after a reload.
    if (this.#known.size > MOST) this.#forget(this.#oldest());
  }

  /** A job was deleted here. */
  drop(id) {
    this.#forget(id);
    this.#tabs.postMessage({ gone: id });
  }

  async more() {
    const page = await listJobs(PAGE, this.#cursor);
    this.#turnTo(page);
    return page.jobs;
  }

  /** The newest page, and those open jobs that are older. */
  async #look() {
    const before = [...this.#known];
    const page = await listJobs(PAGE);
    const listed = new Set(page.jobs.map((job) => job.id));
    page.jobs.forEach((job) => this.put(job));
    if (before.length === 0) this.#turnTo({ ...page, jobs: [] });
    const oldest = page.next_cursor === null ? "" : page.jobs.at(-1).id;
    for (const [id, job] of before) {
      if (listed.has(id)) continue;
      // What would have to stand on this page and does not is gone.
      if (id > oldest) this.#forget(id);
      else if (isOpen(job)) this.#want(id);
    }
    this.onProblem(null);
  }

  #turnTo(page) {
    page.jobs.forEach((job) => this.put(job));
    this.#cursor = page.next_cursor;
    this.onMore(this.#cursor !== null);
  }

  /** Fetch a job soon. One at a time, and once however often it was wanted meanwhile. */
  async #want(id) {
    // Ids begin with their time: what is unknown and older stands on a page that was not turned to.
    if (!this.#known.has(id) && this.#cursor !== null && id < this.#oldest()) return;
    this.#wanted.add(id);
    if (this.#fetching) return;
    this.#fetching = true;
    for (const wanted of this.#wanted) {
      this.#wanted.delete(wanted);
      await this.#fetch(wanted);
    }
    this.#fetching = false;
  }

  async #fetch(id) {
    try {
      this.put(await showJob(id));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 404) this.#forget(id);
      else this.onProblem(problem);
    }
  }

  #oldest() {
    return [...this.#known.keys()].reduce((one, other) => (one < other ? one : other), "~");
  }

  #forget(id) {
    if (this.#known.delete(id)) this.onGone(id);
  }
}
