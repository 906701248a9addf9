// The API key: where it is kept, and asking for one when the API does not answer without.
// It lives in this tab's session, and goes with the tab.

import { byId } from "./dom.js";

const PLACE = "voxqueue-key";
const FIRST_TIME = "This server asks who you are. Whoever runs it makes keys, with “voxqueue keys create”.";

let asking = null;

export const currentKey = () => sessionStorage.getItem(PLACE);

/** Ask for another key than `used`, which was refused. All who ask meanwhile share one dialog; rejects if there is none. */
export function askForKey(used, problem) {
  if (currentKey() !== used) return Promise.resolve();
  // Of a refusal the first sentence: the rest tells programs how a key is sent.
  const why = used === null ? FIRST_TIME : problem.detail.replace(/(?<=\.) .*/s, "");
  asking ??= ask(why).finally(() => (asking = null));
  return asking.then((given) => {
    if (!given) throw Object.assign(problem, { detail: why });
  });
}

/** Open the dialog; true once a key was given. */
function ask(why) {
  const [dialog, input] = [byId("key-dialog"), byId("key-input")];
  byId("key-note").textContent = why;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}

/** Ask for a key without being refused first; true once one was given. */
export const enterKey = () => ask(FIRST_TIME);

/** Wire up the dialog and the button; `onChange` is called when the key has become another one or is gone. */
export function prepareKeys(onChange) {
  const [dialog, button] = [byId("key-dialog"), byId("key-button")];
  const show = () => (button.hidden = currentKey() === null);
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("key-input").value.trim();
    if (!given) return;
    sessionStorage.setItem(PLACE, given);
    dialog.close("given");
    show();
    onChange();
  });
  byId("key-cancel").addEventListener("click", () => dialog.close());
  button.addEventListener("click", async () => {
    if (await ask("Another key shows another tenant's notes.")) show();
  });
  show();
}
