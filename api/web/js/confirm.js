// Asks before something is deleted for good.

import { byId } from "./dom.js";

/** Whether the person wants it. */
export function confirmDeletion(what) {
  const dialog = byId("confirm-dialog");
  byId("confirm-note").textContent = `${what}. What was sent and everything made of it go, here and on the server.`;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
