// @ts-check
// Silences: what shall not be told for a time. The form that makes one for an incident, and the list of those in force.

import {post, path, remove} from "./api.js";
import {fill, h, say} from "./dom.js";
import {heading, moment, tomorrow} from "./format.js";

/** @typedef {import("./types.js").Silence} Silence */
/** @typedef {import("./types.js").Incident} Incident */

const HOUR = 3600;
const MORNING = 8; // o'clock: "until tomorrow"

/** A name as a glob that fits this name alone. @param {string} name */
export const exactly = (name) => name.replaceAll(/[[*?]/g, "[$&]");

/**
 * What of an incident can be silenced: a sentence for the person, and the globs for the server.
 * @param {Incident} incident
 * @returns {[string, Record<string, string>][]}
 */
export function scopes({run, project, family, rules}) {
  /** @type {[string, Record<string, string>][]} */
  const found = rules.map((rule) => [`Rule ${rule}, in this run`, {run: exactly(run), rule: exactly(rule)}]);
  if (rules.length > 1 && family !== "several families") found.unshift([`${heading(family)}, in this run`, {run: exactly(run), family: exactly(family)}]);
  found.push(["Everything in this run", {run: exactly(run)}]);
  for (const rule of rules) found.push([`Rule ${rule}, in all of ${project}`, {project: exactly(project), rule: exactly(rule)}]);
  return found;
}

/**
 * The form under an incident.
 * @param {Incident} incident
 * @param {() => Promise<void>} made called when there is a new silence
 */
export function silenceForm(incident, made) {
  const choices = scopes(incident);
  const scope = h("select", {id: "silence-scope"}, choices.map(([label], i) => h("option", {value: i}, label)));
  const reason = h("input", {id: "silence-reason", maxlength: 1000, autocomplete: "off", placeholder: "for whoever wonders why nothing comes"});
  const until = h("input", {id: "silence-until", type: "datetime-local"});
  const problem = h("p", {class: "problem", role: "alert"});

  /** @param {number} seconds */
  async function silence(seconds) {
    say(problem, "");
    try {
      await post("/silences", {matches: choices[Number(scope.value)][1], seconds, reason: reason.value});
      await made();
    } catch (error) {
      say(problem, error instanceof Error ? error.message : String(error));
    }
  }

  function untilThen() {
    const seconds = new Date(until.value).getTime() / 1000 - Date.now() / 1000;
    if (seconds > 0) void silence(seconds);
    else say(problem, "Choose a moment that is still to come.");
  }

  return h(
    "div",
    {class: "silence-form"},
    h("label", {for: "silence-scope"}, "Silence", scope),
    h("label", {for: "silence-reason"}, "Reason", reason),
    h(
      "div",
      {class: "actions"},
      h("button", {type: "button", onclick: () => void silence(tomorrow(new Date(), MORNING))}, `Until tomorrow, ${MORNING}:00`),
      h("button", {type: "button", onclick: () => void silence(HOUR)}, "For an hour"),
      h("button", {type: "button", onclick: () => void silence(7 * 24 * HOUR)}, "For a week"),
      h("label", {for: "silence-until", class: "until"}, "or until", until),
      h("button", {type: "button", onclick: untilThen}, "Silence until then"),
    ),
    problem,
  );
}

/**
 * A silence in force, with its way out.
 * @param {Silence} silence
 * @param {() => Promise<void>} lifted
 */
export function makeSilence(silence, lifted) {
  const problem = h("span", {class: "problem", role: "alert"});
  const lift = h("button", {
    type: "button",
    "aria-label": `Lift the silence of ${described(silence)}`,
    onclick: async () => {
      lift.disabled = true;
      try {
        await remove(path`/silences/${silence.id}`);
        await lifted();
      } catch (error) {
        say(problem, error instanceof Error ? error.message : String(error));
      } finally {
        lift.disabled = false;
      }
    },
  }, "Lift");
  return h("li", {class: "card silence"}, h("div", null, h("strong", null, described(silence)), h("p", {class: "muted silence-more"})), lift, problem);
}

/** @param {Element} element @param {Silence} silence */
export function updateSilence(element, silence) {
  const more = /** @type {Element} */ (element.querySelector(".silence-more"));
  fill(more, `Until ${moment(silence.ends_at)}, by ${silence.made_by}.`, silence.reason && ` ${silence.reason}`);
}

/** What it keeps quiet, in words. @param {Silence} silence */
function described({matches, project}) {
  const parts = Object.entries(matches).flatMap(([name, glob]) => (typeof glob === "string" ? [[name, glob]] : Object.entries(glob)));
  return parts.map(([name, glob]) => `${name} ${glob}`).join(", ") + (project ? ` (in ${project})` : "");
}
