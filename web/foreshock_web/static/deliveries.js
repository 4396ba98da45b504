// @ts-check
// Who was told about an incident: a line per message and channel, its tries one press away.

import {get, path, post} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {duration, moment, plural} from "./format.js";

/** @typedef {import("./types.js").Letter} Letter */

/** @type {Record<string, [string, string]>} a state -> the class of its chip, its word */
const STATES = {
  delivered: ["fine", "Delivered"],
  waiting: ["none", "On the way"],
  failed: ["collapsing", "Not delivered"],
  collected: ["none", "In a digest"],
};

/**
 * Fill a list with messages, the newest first.
 * @param {HTMLElement} list
 * @param {Letter[]} letters
 * @param {() => Promise<void>} again called when one was let wait anew
 */
export function deliveryLog(list, letters, again) {
  each(list, letters, (one) => one.id, (one) => make(one, again), update);
}

/** @param {Letter} letter @param {() => Promise<void>} again */
function make(letter, again) {
  const tries = h("ol", {class: "tries"});
  const problem = h("span", {class: "problem", role: "alert"});
  const details = h(
    "details",
    {ontoggle: () => details.open && void load()},
    h("summary", null, h("span", {class: "chip"}), h("strong", {class: "letter-to"}), h("span", {class: "letter-about muted"})),
    tries,
    h("button", {type: "button", class: "letter-again", hidden: true, onclick: () => void retry()}, "Send it again"),
    problem,
  );

  async function load() {
    try {
      const {log} = await get(path`/deliveries/${letter.id}`);
      fill(
        tries,
        log.length === 0 && h("li", {class: "muted"}, "Not tried yet, or its tries are no longer remembered."),
        log.map((/** @type {{try: number, at: number, seconds: number, status: number | null, said: string, error: string | null}} */ one) =>
          h("li", null, `Try ${one.try}, ${moment(one.at)}: `, one.status === null ? (one.error ?? "no answer") : `answered ${one.status}${one.error ? `, ${one.error}` : ""}`, h("span", {class: "muted"}, ` after ${one.seconds < 1 ? `${Math.round(one.seconds * 1000)}\u00a0ms` : duration(one.seconds)}${one.said ? ` · ${one.said}` : ""}`)),
        ),
      );
    } catch (error) {
      say(problem, error instanceof Error ? error.message : String(error));
    }
  }

  async function retry() {
    say(problem, "");
    try {
      await post(path`/deliveries/${letter.id}/retry`);
      await again();
    } catch (error) {
      say(problem, error instanceof Error ? error.message : String(error));
    }
  }

  return h("li", {class: "letter"}, details);
}

/** @param {Element} element @param {Letter} letter */
function update(element, letter) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (element.querySelector(selector));
  const [kind, word] = STATES[letter.state] ?? ["none", letter.state];
  const chip = at(".chip");
  chip.className = `chip chip-${kind}`;
  say(chip, word);
  say(at(".letter-to"), letter.channel ? `${letter.channel.name} (${letter.channel.kind})` : "a channel that was deleted");
  const about = [letter.kind, moment(letter.delivered_at ?? letter.created_at), letter.tries > 1 && plural(letter.tries, "try", "tries"), letter.state !== "delivered" && letter.error].filter(Boolean);
  say(at(".letter-about"), about.join(" · "));
  at(".letter-again").hidden = letter.state !== "failed";
}
