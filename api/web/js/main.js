// Puts the page together.

import { Board } from "./board.js";
import { Composer } from "./composer.js";
import { byId, setText } from "./dom.js";
import { followFleet } from "./fleet.js";
import { Jobs } from "./jobs.js";
import { prepareKeys } from "./key.js";
import { LoadingScreen } from "./loading.js";
import { OperateView } from "./operate.js";
import { mayOperate } from "./operations.js";
import { closeOnOutside, showFleet, showLost } from "./status.js";
import { Views } from "./views.js";

let hasBegun = false;
let isOffered = false;

const board = new Board();
const jobs = new Jobs({
  onJob: (job) => board.show(job),
  onGone: (id) => board.remove(id),
  onMore: (hasMore) => board.showMore(hasMore),
  onLive: (isLive) => setText(byId("live"), isLive ? "Live" : ""),
  onProblem: (problem) => {
    board.showProblem(problem);
    if (problem === null) offerOperating();
  },
});
board.attach(jobs);
const composer = new Composer({
  onSent: (job) => {
    jobs.put(job);
    board.reveal(job.id);
  },
});
const operating = new OperateView();
const views = new Views({
  onChange: (name) => {
    if (name === "operate") operating.open();
    else operating.close();
    loading.look();
  },
});
const loading = new LoadingScreen({
  onAsk: follow,
  // Whoever looks after the fleet wants to see it most while it is not ready.
  staysOpen: () => composer.isRecording || views.current === "operate",
  onOpen: () => {
    composer.options.loadVoices();
    if (hasBegun) return;
    hasBegun = true;
    jobs.start();
  },
});

/** Once there is an answer to this key: it would else be asked for where nobody wanted anything yet. */
async function offerOperating() {
  if (isOffered) return;
  isOffered = true;
  try {
    views.offer(await mayOperate());
  } catch {
    isOffered = false; // the jobs' next look asks again
  }
}

let following = null;

/** Anew for each key: without one, a report says little. */
function follow() {
  following?.abort();
  following = new AbortController();
  followFleet({
    onReport: (report) => {
      showFleet(report);
      operating.fleet(report);
      loading.report(report);
    },
    onLost: (problem) => {
      showLost();
      loading.lost(problem);
    },
    signal: following.signal,
  });
}

prepareKeys(() => {
  isOffered = false;
  composer.options.loadVoices();
  if (hasBegun) jobs.start();
  if (operating.isOpen) operating.open();
  follow();
});
byId("loading-stuck").remove();
closeOnOutside();
views.begin();
follow();
