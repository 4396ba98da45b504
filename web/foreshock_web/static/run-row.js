// @ts-check
// One run as a row of the list.

import {runHref} from "./api.js";
import {fill, h, s, say} from "./dom.js";
import {age, integer, plural, quantity} from "./format.js";
import {icon, word} from "./icons.js";
import {spark, spoken} from "./spark.js";

/** @typedef {import("./types.js").ListedRun} Run */

/** @returns {HTMLElement} */
export function makeRow() {
  return h(
    "tr",
    {role: "row"},
    h("td", {role: "cell", class: "at-check"}, h("input", {type: "checkbox"})),
    h("td", {role: "cell", class: "at-verdict"}, h("span", {class: "chip"})),
    h(
      "td",
      {role: "cell", class: "at-name"},
      h("a", {class: "row-link"}, h("span", {class: "run-name"})),
      h("span", {class: "run-under muted"}, h("span", {class: "run-project"}), h("span", {class: "run-tags"})),
    ),
    h("td", {role: "cell", class: "at-families"}),
    h("td", {role: "cell", class: "at-lead"}, h("span", {class: "lead-spark"}), h("span", {class: "lead-text"}, h("span", {class: "lead-value num"}), h("span", {class: "lead-name muted"}))),
    h("td", {role: "cell", class: "at-step num"}, h("span", {class: "step-text"}), h("span", {class: "step-bar"})),
    h("td", {role: "cell", class: "at-alerts num"}),
    h("td", {role: "cell", class: "at-owner muted"}),
    h("td", {role: "cell", class: "at-age"}, h("span", {class: "state"}), h("time", {class: "muted num"})),
  );
}

/**
 * @param {HTMLElement} row
 * @param {Run} run
 * @param {number} place
 * @param {boolean} chosen
 */
export function updateRow(row, run, place, chosen) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  row.setAttribute("aria-rowindex", String(place + 2));
  const box = /** @type {HTMLInputElement} */ (row.firstElementChild?.firstElementChild);
  box.checked = chosen;
  row.toggleAttribute("data-chosen", chosen);
  const seen = `${run.id} ${run.revision} ${run.state} ${run.verdict} ${run.firing}`;
  if (row.getAttribute("data-seen") === seen) return;
  row.setAttribute("data-seen", seen);
  row.setAttribute("data-verdict", run.verdict);
  const name = run.name || run.id;
  box.setAttribute("aria-label", `Choose ${name}`);
  chip(at(".chip"), run.verdict);
  const link = at(".row-link");
  link.setAttribute("href", runHref(run.id));
  link.title = name;
  say(at(".run-name"), name);
  say(at(".run-project"), run.project);
  fill(at(".run-tags"), run.tags.map((tag) => h("span", {class: "tag"}, tag)));
  fill(at(".at-families"), families(run.families));
  if (run.lead) {
    fill(at(".lead-spark"), spark(run.lead));
    say(at(".lead-value"), quantity(run.lead.last, run.lead.unit));
    say(at(".lead-name"), spoken(run.lead.statistic));
  } else {
    fill(at(".lead-spark"));
    say(at(".lead-value"), "");
    say(at(".lead-name"), "");
  }
  progress(at(".step-text"), at(".step-bar"), run);
  say(at(".at-alerts"), plural(run.firing, "alert"));
  at(".at-alerts").classList.toggle("muted", run.firing === 0);
  say(at(".at-owner"), run.owner ?? "–");
  state(at(".state"), run.state);
  const time = at("time");
  time.setAttribute("datetime", new Date(run.updated_at * 1000).toISOString());
  showAge(time);
}

/** @param {Element} time */
export function showAge(time) {
  say(time, age(Date.parse(time.getAttribute("datetime") ?? "") / 1000, Date.now() / 1000));
}

/** @param {Element} text @param {Element} bar @param {Run} run */
function progress(text, bar, run) {
  const done = run.last_step === null || run.planned_steps === null ? null : Math.min(1, Math.max(0, run.last_step / run.planned_steps));
  say(text, done === null ? integer(run.last_step) : `${integer(run.last_step)} · ${Math.floor(100 * done)}\u00a0%`);
  fill(bar, done !== null && h("span", {style: `width: ${(100 * done).toFixed(1)}%`}));
  bar.toggleAttribute("hidden", done === null);
}

const CELL = 9;
const TALL = 18;
const HEIGHTS = {none: 2, fine: 5, watch: 11, collapsing: TALL};

/**
 * A bar for each family: the worse it stands, the higher.
 * @param {{family: string, state: import("./types.js").Verdict}[]} told
 */
function families(told) {
  if (told.length === 0) return h("span", {class: "muted"}, "–");
  const of = (/** @type {string} */ verdict) => told.filter((one) => one.state === verdict).map((one) => one.family);
  const [bad, odd, fine] = [of("collapsing"), of("watch"), of("fine")];
  const said = [bad.length > 0 && `Collapsing: ${bad.join(", ")}`, odd.length > 0 && `Watch: ${odd.join(", ")}`, fine.length > 0 && `Fine: ${fine.join(", ")}`].filter(Boolean).join(". ");
  return s(
    "svg",
    {class: "families", viewBox: `0 0 ${told.length * CELL} ${TALL}`, width: told.length * CELL, height: TALL, role: "img", "aria-label": said},
    s("title", null, said),
    told.map((one, i) => s("rect", {class: `family-${one.state}`, x: i * CELL, y: TALL - HEIGHTS[one.state], width: CELL - 2, height: HEIGHTS[one.state], rx: 1})),
  );
}

/** A verdict in shape, colour and word. @param {HTMLElement} element @param {string} verdict */
export function chip(element, verdict) {
  if (element.getAttribute("data-verdict") === verdict) return;
  element.setAttribute("data-verdict", verdict);
  element.className = `chip chip-${verdict}`;
  fill(element, icon(verdict), word(verdict));
}

/** What a run does, in shape, colour and word. @param {HTMLElement} element @param {string} name */
export function state(element, name) {
  if (element.getAttribute("data-state") === name) return;
  element.setAttribute("data-state", name);
  element.className = `state state-${name}`;
  fill(element, icon(name), word(name));
}
