// Knows whether the fleet is ready, and tells when that changes. Shows nothing.

import { Problem, jsonOf, reach } from "./api.js";
import { follow } from "./streams.js";

const READY_PATH = "api/ready";

/**
 * Follow the fleet. `onReport(report)` gets what GET /api/ready answers, `onLost(problem)` is called when the server
 * has not answered twice in a row: once may be a restart.
 */
export function followFleet({ onReport, onLost, signal }) {
  let ready = false;
  let misses = 0;
  const hear = (report) => {
    misses = 0;
    ready = report.ready;
    onReport(report);
  };
  return follow({
    path: `${READY_PATH}/stream`,
    tellsState: true,
    look: async () => hear(await askFleet()),
    hear,
    lost: (problem) => {
      misses += 1;
      if (misses > 1 || !ready) onLost(problem);
    },
    pauseMs: () => (ready ? 4_000 : 700),
    signal,
  });
}

/** The report comes with 503 while the fleet is not ready, which is an answer, not a failure. */
async function askFleet() {
  const answer = await reach(READY_PATH, {}, [503]);
  const report = await jsonOf(answer);
  if (report.services) return report;
  throw new Problem({ ...report, status: answer.status });
}

/** Have the engines that failed tried again. Throws `Problem`. */
export const warmAgain = () => reach(`${READY_PATH}/warmup`, { method: "POST" });
