// @ts-check
// Keys: who may send, look, change. A key is shown once, when it is made.

import {get, getIfAllowed, path, post, remove} from "./api.js";
import {showCode} from "./code.js";
import {sure} from "./confirm.js";
import {each, fill, h, say} from "./dom.js";
import {age} from "./format.js";
import {notForYou} from "./login.js";

/** @typedef {import("./types.js").Key} Key */

/** @type {[string, string[]][]} what a key may, as people choose it */
const MAY = [
  ["Send readings", ["ingest"]],
  ["Look", ["read"]],
  ["Send and look", ["ingest", "read"]],
  ["Everything", ["admin"]],
];
const EVERYTHING = String(MAY.length - 1);

/**
 * The part about keys.
 * @param {AbortSignal} signal
 */
export function keys(signal) {
  const list = h("ul", {class: "channels"});
  const none = h("p", {class: "muted", hidden: true}, "No key yet: this server asks nobody for one. With the first, everybody needs one.");
  const name = h("input", {id: "key-name", required: true, maxlength: 100, autocomplete: "off", placeholder: "who or what uses it"});
  const may = h("select", {id: "key-may"}, MAY.map(([label], i) => h("option", {value: i}, label)));
  const project = h("input", {id: "key-project", maxlength: 200, autocomplete: "off", placeholder: "all projects"});
  const first = h("p", {class: "muted", hidden: true}, "The first key may do everything, so that you can make others; this browser is signed in with it.");
  const problem = h("p", {class: "problem", role: "alert"});
  const form = h(
    "form",
    {
      class: "card channel-form",
      "aria-labelledby": "key-add",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        void add();
      },
    },
    h("h3", {id: "key-add"}, "Make a key"),
    h("label", {for: "key-name"}, "Name", name),
    h("label", {for: "key-may"}, "It may", may),
    h("label", {for: "key-project"}, "Only this project", project),
    first,
    problem,
    h("button", {type: "submit", class: "primary"}, "Make the key"),
  );
  const element = h("section", {"aria-labelledby": "keys-title", class: "part"}, h("h2", {id: "keys-title"}, "Keys"), h("p", {class: "muted"}, "Programs send with a key, people sign in with one. Whoever loses one revokes it: it ends at once."), none, list, form);
  let open = false;

  async function load() {
    const [found, session] = await Promise.all([getIfAllowed("/keys", signal), get("/session", signal)]);
    if (found === null) {
      notForYou(element, "Keys", "keys");
      return;
    }
    open = !session.needed;
    none.hidden = !open || found.keys.length > 0;
    first.hidden = !open;
    if (open) may.value = EVERYTHING;
    may.disabled = open;
    project.disabled = open;
    each(list, found.keys, (key) => key.id, make, update);
  }

  async function add() {
    say(problem, "");
    try {
      const made = await post("/keys", {name: name.value, scopes: MAY[Number(may.value)][1], project: project.value || null});
      if (open) await post("/session", {key: made.key});
      window.dispatchEvent(new Event("foreshock:session"));
      showCode(`The key “${made.name}”: it is shown only now`, made.key);
      form.reset();
      await load();
    } catch (error) {
      say(problem, error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {Key} key */
  function make(key) {
    const failed = h("span", {class: "problem", role: "alert"});
    async function revoke() {
      if (!(await sure(`Revoke the key “${key.name}”?`, "Whoever uses it is let in no more, at once, and for good.", "Revoke"))) return;
      try {
        await remove(path`/keys/${key.id}`);
        await load();
      } catch (error) {
        say(failed, error instanceof Error ? error.message : String(error));
      }
    }
    return h(
      "li",
      {class: "card channel key"},
      h("div", {class: "channel-head"}, h("strong", null, key.name), h("span", {class: "channel-kind muted"}), h("span", {class: "key-over chip chip-none"}, "revoked")),
      h("div", {class: "channel-actions"}, h("button", {type: "button", class: "danger", "aria-label": `Revoke ${key.name}`, onclick: () => void revoke()}, "Revoke"), failed),
    );
  }

  return {element, load};
}

/** @param {Element} element @param {Key} key */
function update(element, key) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (element.querySelector(selector));
  const now = Date.now() / 1000;
  const allowed = MAY.find(([, scopes]) => scopes.join() === key.scopes.join())?.[0] ?? key.scopes.join(", ");
  say(at(".channel-kind"), [allowed, key.project === null ? "all projects" : `only ${key.project}`, `fsk_${key.id}…`, `made ${age(key.created_at, now)}`, key.used_at === null ? "never used" : `used ${age(key.used_at, now)}`].join(" · "));
  at(".key-over").hidden = key.revoked_at === null;
  at(".channel-actions").hidden = key.revoked_at !== null;
}
