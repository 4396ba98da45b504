// @ts-check
// What a server with keys shows first; and the way out again.

import {get, post, remove} from "./api.js";
import {fill, h, say} from "./dom.js";
import {icon} from "./icons.js";

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
      h("p", {class: "muted"}, "This server wants a key that may read. Whoever runs it makes one with ", h("code", null, "foreshock keys create"), "."),
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
        const session = await post("/session", {key: key.value});
        if (session.needed && !(await get("/session")).open) throw new Error("The browser did not keep the session: it must take cookies of this address, and an address with https if the server's public one has it.");
        resolve();
      } catch (error) {
        say(problem, error instanceof Error ? error.message : String(error));
        key.select();
      } finally {
        submit.disabled = false;
      }
    }
  });
}

/**
 * Show in this place who is signed in, with a way out; empty when nobody needs to be.
 * @param {HTMLElement} place
 * @param {() => void} left called when the session has ended
 */
export async function showSession(place, left) {
  /** @type {{needed: boolean, open: boolean, name: string | null, scopes: string[], project: string | null}} */
  let session;
  try {
    session = await get("/session");
  } catch {
    return; // the view says what is wrong
  }
  if (!session.needed || !session.open) {
    fill(place);
    return;
  }
  const may = session.scopes.includes("admin") ? "may do everything" : `may ${session.scopes.join(" and ")}`;
  const out = h("button", {
    type: "button",
    class: "quiet",
    title: `Sign out. Signed in with the key ${session.name ?? ""}, which ${may}${session.project === null ? "" : ` in ${session.project}`}`,
    onclick: async () => {
      try {
        await remove("/session");
      } finally {
        fill(place);
        left();
      }
    },
  }, icon("leave"), h("span", {class: "hidden"}, "Sign out"));
  fill(place, out);
}

/**
 * What a part of the settings says to a key that may not change it.
 * @param {HTMLElement} element
 * @param {string} heading
 * @param {string} what
 */
export function notForYou(element, heading, what) {
  fill(element, h("h2", null, heading), h("p", {class: "muted"}, `To see and change ${what}, sign in with a key that may do everything, in all projects.`));
}
