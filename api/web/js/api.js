// Talks to the API: adds the key, turns problem documents into errors, uploads with progress.
// Addresses are relative, since the app may stand under another path of its server.

import { askForKey, currentKey } from "./key.js";

/** What the API, or the way there, has to say of a request that failed. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, type = "", errors = null, retryAfter = null }) {
    super(detail);
    Object.assign(this, { title, detail, status, type, errors, retryAfter });
  }
}

const UNREACHABLE = {
  title: "The server cannot be reached",
  detail: "Check the connection. Nothing that you see here is lost; try again.",
};

/** Fetch, with the key. Asks for one where the API wants it. Throws `Problem` unless the status is `fine`, or AbortError. */
export const reach = (path, options = {}, fine = []) =>
  withKey(async (bearer) => {
    const answer = await arrived(fetch(path, { ...options, headers: { ...options.headers, ...bearer } }));
    if (answer.ok || fine.includes(answer.status)) return answer;
    throw asProblem(answer.status, answer.headers.get("retry-after"), await arrived(answer.text()));
  });

/** Send with the key; where it is refused, with the next one given. */
async function withKey(send) {
  for (;;) {
    const key = currentKey();
    try {
      return await send(key ? { Authorization: `Bearer ${key}` } : {});
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      await askForKey(key, problem);
    }
  }
}

/** Wait for what may break off on the way. Throws `Problem` or AbortError. */
async function arrived(coming) {
  try {
    return await coming;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE);
  }
}

function asProblem(status, retryAfter, body) {
  try {
    const { title, detail, type, errors } = JSON.parse(body);
    return new Problem({ title, detail, status, type, errors, retryAfter: Number(retryAfter) || null });
  } catch {
    return improper(status);
  }
}

function improper(status) {
  const detail = `Its status was ${status}. Try again in a moment.`;
  return new Problem({ title: "The server gave no proper answer", detail, status });
}

/** An answer's JSON. Throws `Problem` where it is none, such as a proxy's page. */
export async function jsonOf(answer) {
  const text = await arrived(answer.text());
  try {
    return JSON.parse(text);
  } catch {
    throw improper(answer.status);
  }
}

export const getJson = async (path, options) => jsonOf(await reach(path, options));

export const jobPath = (id) => `v1/jobs/${id}`;

export const showJob = (id) => getJson(jobPath(id));

export function listJobs(limit, cursor = null) {
  const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  return getJson(`v1/jobs?limit=${limit}${after}`);
}

export const cancelJob = (id) => getJson(`${jobPath(id)}/cancel`, { method: "POST" });

export const retryJob = (id) => getJson(`${jobPath(id)}/retry`, { method: "POST" });

export const deleteJob = (id) => reach(jobPath(id), { method: "DELETE" });

export const listVoices = async (language) =>
  (await getJson(`v1/voices${language ? `?language=${encodeURIComponent(language)}` : ""}`)).voices;

export function listDeliveries({ state = "", cursor = null }) {
  const asked = { limit: 10, ...(state && { state }), ...(cursor && { cursor }) };
  return getJson(`v1/webhooks/deliveries?${new URLSearchParams(asked)}`);
}

export const showDelivery = (id) => getJson(`v1/webhooks/deliveries/${id}`);

export const redeliver = (id) => getJson(`v1/webhooks/deliveries/${id}/redeliver`, { method: "POST" });

export const fetchBlob = async (path) => arrived((await reach(path)).blob());

export function sendText(body, idempotencyKey) {
  return getJson("v1/texts", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
    body: JSON.stringify(body),
  });
}

/** Upload a form. `onProgress` gets the share from 0 to 1; `signal` stops it, with an AbortError. */
export const sendNote = (form, idempotencyKey, { onProgress, signal }) =>
  withKey((bearer) => upload(form, { ...bearer, "Idempotency-Key": idempotencyKey }, onProgress, signal));

/** XMLHttpRequest, since fetch does not tell how far an upload is. */
function upload(form, headers, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "v1/voice-notes");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(asProblem(request.status, request.getResponseHeader("retry-after"), request.responseText));
    });
    request.addEventListener("error", () => reject(new Problem(UNREACHABLE)));
    request.addEventListener("abort", () => reject(new DOMException("The upload was stopped.", "AbortError")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}
