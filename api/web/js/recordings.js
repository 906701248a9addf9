// Keeps what was sent, by the id of its job, in this browser: the API does not hand recordings out again.

const STORE = "recordings";
const MOST = 60;

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("voxqueue", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function within(mode, act) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Keep one; the oldest go. A browser that keeps nothing, as some do in private windows, costs the playback only. */
export async function keepRecording(jobId, blob) {
  try {
    await within("readwrite", (store) => store.put(blob, jobId));
    const ids = await within("readonly", (store) => store.getAllKeys());
    // The ids of jobs begin with their time, so the smallest are the oldest.
    for (const id of ids.sort().slice(0, -MOST)) await dropRecording(id);
  } catch (error) {
    console.info("The browser keeps no recordings:", error);
  }
}

/** The recording of a job; undefined where this browser has none. */
export const findRecording = (jobId) => within("readonly", (store) => store.get(jobId)).catch(() => undefined);

export const dropRecording = (jobId) => within("readwrite", (store) => store.delete(jobId)).catch(() => undefined);
