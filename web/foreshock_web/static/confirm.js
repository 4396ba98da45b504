// @ts-check
// A question before what cannot be undone.

import {h} from "./dom.js";

/**
 * @param {string} question
 * @param {string} consequence
 * @param {string} [word] of the button that does it
 * @returns {Promise<boolean>}
 */
export function sure(question, consequence, word = "Delete") {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      {class: "dialog", "aria-label": question},
      h("h2", null, question),
      h("p", null, consequence),
      h(
        "form",
        {method: "dialog", class: "dialog-foot"},
        h("button", {value: "no", autofocus: true}, "Keep"),
        h("button", {value: "yes", class: "danger"}, word),
      ),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
