// @ts-check
// The inbox: what people are told about, over all runs; who looks after it; and what is silenced.

import {get, getIfAllowed, incidentHref, query} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {age, heading, integer, plural, sentence} from "./format.js";
import {icon} from "./icons.js";
import {calm, follow} from "./live.js";
import {makeSilence, updateSilence} from "./silences.js";

/** @typedef {import("./types.js").Incident} Incident */
/** @typedef {import("./app.js").Context} Context */

const LOOK_AGAIN = 30_000; // a silence ends, and a hint may be lost
const STATES = [
  ["open", "Open"],
  ["resolved", "Resolved"],
  ["all", "All"],
];
const NOTHING = {open: "Nothing is open: no run fires an alert that people are told about.", resolved: "Nothing was resolved yet.", all: "There was no incident yet."};

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showIncidents(root, {signal, onLive, title}) {
  title("Incidents");
  const address = new URLSearchParams(location.search);
  const project = address.get("project");
  let state = /** @type {keyof typeof NOTHING} */ (STATES.some(([name]) => name === address.get("state")) ? address.get("state") : "open");

  const count = h("p", {class: "count muted", role: "status"});
  const tabs = h("div", {class: "tabs", role: "group", "aria-label": "Which incidents"}, STATES.map(([name, label]) => h("button", {type: "button", "data-state": name, onclick: () => choose(name)}, label)));
  const list = h("ul", {class: "inbox"});
  const nothing = h("p", {class: "nothing muted card", hidden: true});
  const silenced = h("ul", {class: "silences"});
  const quiet = h("section", {hidden: true, "aria-labelledby": "silences-title"}, h("h2", {id: "silences-title"}, "Silences in force"), silenced);
  fill(root, h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Incidents"), count, tabs), list, nothing, quiet);

  /** @param {string} name */
  function choose(name) {
    state = /** @type {keyof typeof NOTHING} */ (name);
    history.replaceState(null, "", location.pathname + query({project, state: name === "open" ? null : name}));
    void load();
  }

  async function load() {
    const wanted = state;
    const [found, muted] = await Promise.all([get(`/incidents${query({state, project})}`, signal), getIfAllowed("/silences", signal)]);
    if (wanted !== state) return;
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.getAttribute("data-state") === state));
    each(list, found.incidents, (one) => `${one.run} ${one.number}`, makeRow, updateRow);
    nothing.hidden = found.incidents.length > 0;
    say(nothing, NOTHING[state]);
    const open = found.incidents.filter((/** @type {Incident} */ one) => one.state === "open" && one.acknowledged_at === null).length;
    say(count, found.incidents.length === 0 ? "" : `${plural(found.incidents.length, "incident")}${open > 0 ? `, ${integer(open)} that nobody looks after` : ""}`);
    quiet.hidden = muted === null || muted.silences.length === 0;
    each(silenced, muted?.silences ?? [], (one) => one.id, (one) => makeSilence(one, load), updateSilence);
  }

  await load();
  const refresh = calm(load, 1000);
  follow("/live", {signal, onState: onLive, onReturn: refresh, onChange: refresh});
  const slow = setInterval(() => document.hidden || refresh(), LOOK_AGAIN);
  signal.addEventListener("abort", () => clearInterval(slow));
}

/** @param {Incident} incident */
function makeRow(incident) {
  return h(
    "li",
    {class: "card incident-row"},
    h("span", {class: "incident-icon"}),
    h(
      "div",
      {class: "incident-about"},
      h("a", {class: "row-link", href: incidentHref(incident.run, incident.number)}, h("span", {class: "incident-message"})),
      h("p", {class: "muted incident-run"}, `${incident.project} / ${incident.name || incident.run}`),
    ),
    h("span", {class: "incident-state chip"}),
    h("span", {class: "incident-age muted num"}),
  );
}

/** @param {Element} row @param {Incident} incident */
function updateRow(row, incident) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  const verdict = shape(incident);
  if (row.getAttribute("data-verdict") !== verdict) {
    row.setAttribute("data-verdict", verdict);
    fill(at(".incident-icon"), icon(verdict, incident.severity));
  }
  say(at(".incident-message"), says(incident));
  showCare(at(".incident-state"), incident);
  say(at(".incident-age"), `${incident.state === "open" ? "since" : "began"} step ${integer(incident.opened_step)} · ${age(incident.opened_at, Date.now() / 1000)}`);
}

/** The shape of an incident: what is over is fine. @param {Incident} incident */
export const shape = (incident) => (incident.state === "resolved" ? "fine" : incident.severity === "critical" ? "collapsing" : "watch");

/** What an incident is about in a sentence. @param {Incident} incident */
export const says = (incident) => sentence(incident.message ?? `${heading(incident.family)}: ${incident.rules.join(", ")}`);

/**
 * Where an incident stands, in a word and a colour.
 * @param {HTMLElement} element
 * @param {Incident} incident
 */
export function showCare(element, incident) {
  const [kind, text] =
    incident.state === "resolved"
      ? ["fine", "Resolved"]
      : incident.acknowledged_at !== null
        ? ["none", `Acknowledged by ${incident.acknowledged_by}`]
        : incident.muted !== null && incident.told_at === null
          ? ["none", incident.muted.startsWith("silence") ? "Silenced" : "Held back"]
          : [incident.severity === "critical" ? "collapsing" : "watch", "Open"];
  element.className = `incident-state chip chip-${kind}`;
  say(element, text);
}
