// Puts the page together.

import { Board } from "./board.js";
import { Composer } from "./composer.js";
import { byId, setText } from "./dom.js";
import { followFleet } from "./fleet.js";
import { Jobs } from "./jobs.js";
import { prepareKeys } from "./key.js";
import { LoadingScreen } from "./loading.js";
import { closeOnOutside, showFleet, showLost } from "./status.js";

const board = new Board();
const jobs = new Jobs({
  onJob: (job) => board.show(job),
  onGone: (id) => board.remove(id),
  onMore: (hasMore) => board.showMore(hasMore),
  onLive: (isLive) => setText(byId("live"), isLive ? "Live" : ""),
  onProblem: (problem) => board.showProblem(problem),
});
board.attach(jobs);
const composer = new Composer({ onSent: (job) => jobs.put(job) });

let hasBegun = false;
const loading = new LoadingScreen({
  staysOpen: () => composer.isRecording,
  onOpen: () => {
    composer.options.loadVoices();
    if (hasBegun) return;
    hasBegun = true;
    jobs.start();
  },
});

prepareKeys(() => {
  composer.options.loadVoices();
  if (hasBegun) jobs.start();
});
closeOnOutside();

followFleet({
  onReport: (report) => {
    showFleet(report);
    loading.report(report);
  },
  onLost: (problem) => {
    showLost();
    loading.lost(problem);
  },
  signal: new AbortController().signal,
});
