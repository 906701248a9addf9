// Knows the fleet at work, for as long as somebody looks at it. Shows nothing.

import { getJson, reach } from "./api.js";
import { rest, untilVisible } from "./streams.js";

const PATH = "api/operations";
const EVERY_MS = 2_000;
const MOST_PAUSE_MS = 15_000;

/** Whether whoever looks at the page may see this. Asks for no key. Throws `Problem` where nobody can say. */
export const mayOperate = async () => (await reach(PATH, {}, [401, 403])).ok;

/**
 * Ask until `signal` aborts. `onReport(report)` gets what GET /api/operations answers; `onProblem(problem)` is called
 * when it did not, and then asking ends if it was for want of a right.
 */
export async function watchOperations({ onReport, onProblem, signal }) {
  let failures = 0;
  while (!signal.aborted) {
    await untilVisible(signal);
    if (signal.aborted) return;
    try {
      const report = await getJson(PATH, { signal });
      failures = 0;
      onReport(report);
    } catch (problem) {
      if (signal.aborted) return;
      onProblem(problem);
      if (problem.status === 401 || problem.status === 403) return;
      failures += 1;
    }
    await rest(Math.min(MOST_PAUSE_MS, EVERY_MS * 1.5 ** failures), signal);
  }
}
