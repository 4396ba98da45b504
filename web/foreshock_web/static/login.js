// @ts-check
// What a server with a key shows first.

import {ApiError, post} from "./api.js";
import {fill, h, say} from "./dom.js";

/**
 * Ask for the key; resolves when the server took it.
 * @param {HTMLElement} root
 * @param {(title: string) => void} title
 * @returns {Promise<void>}
 */
export function askForKey(root, title) {
  title("Sign in");
  return new Promise((resolve) => {
    const key = h("input", {type: "password", id: "key", name: "key", autocomplete: "current-password", required: true, autofocus: true});
    const problem = h("p", {class: "problem", role: "alert"});
    const submit = h("button", {type: "submit", class: "primary"}, "Sign in");
    const form = h(
      "form",
      {
        class: "card login",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void send();
        },
      },
      h("h1", {tabindex: -1}, "Sign in"),
      h("p", {class: "muted"}, "This server wants its key: the value of FORESHOCK_API_KEY where it runs."),
      h("label", {for: "key"}, "Key"),
      key,
      problem,
      submit,
    );
    fill(root, form);
    key.focus();

    async function send() {
      submit.disabled = true;
      try {
        await post("/session", {key: key.value});
        resolve();
      } catch (error) {
        say(problem, error instanceof ApiError ? error.message : String(error));
        key.select();
      } finally {
        submit.disabled = false;
      }
    }
  });
}
