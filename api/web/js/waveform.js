// Loudness as bars. Drawn as one SVG path, so that colours come from the style sheet and follow dark and light.

import { svg } from "./dom.js";

const SMALLEST = 0.04;

/** The `d` of a path with one upright bar per level (0 to 1), in a box of 1 by 1 per bar. */
export function bars(levels) {
  return levels
    .map((level, place) => {
      const half = Math.min(1, Math.max(SMALLEST, level)) / 2;
      return `M${place + 0.5} ${(0.5 - half).toFixed(3)}V${(0.5 + half).toFixed(3)}`;
    })
    .join("");
}

export function drawing(count, ...classes) {
  const paths = classes.map((name) => svg("path", { class: name, "vector-effect": "non-scaling-stroke" }));
  const box = { viewBox: `0 0 ${count} 1`, preserveAspectRatio: "none" };
  const picture = svg("svg", { class: "bars", "aria-hidden": "true", ...box }, ...paths);
  return { picture, paths };
}

/** The loudest sample of each of `count` stretches, as a share of the loudest of all. And the seconds. */
export async function levelsOf(blob, count) {
  // Decoding needs a context, but nothing is played on it; the rate only has to be allowed.
  const decoded = await new OfflineAudioContext(1, 1, 16_000).decodeAudioData(await blob.arrayBuffer());
  const samples = decoded.getChannelData(0);
  const length = Math.max(1, Math.floor(samples.length / count));
  const levels = Array.from({ length: count }, (_, place) => loudest(samples, place * length, length));
  const most = Math.max(...levels, 1e-4);
  return { levels: levels.map((level) => level / most), seconds: decoded.duration };
}

function loudest(samples, from, length) {
  let most = 0;
  for (let place = from; place < Math.min(from + length, samples.length); place += 1) {
    most = Math.max(most, Math.abs(samples[place]));
  }
  return most;
}
