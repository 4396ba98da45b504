// @ts-check
// One run as a row of the list.

import {runHref} from "./api.js";
import {fill, h, s, say} from "./dom.js";
import {age, integer, plural, quantity} from "./format.js";
import {icon, word} from "./icons.js";
import {makeSpark, showSpark, spoken} from "./spark.js";

/** @typedef {import("./types.js").ListedRun} Run */

const CELL = 9;
const TALL = 18;
const HEIGHTS = {none: 2, fine: 5, watch: 11, collapsing: TALL};

/** @type {import("./types.js").Verdict[]} */
const STATES = ["none", "fine", "watch", "collapsing"];

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
    h(
      "td",
      {role: "cell", class: "at-families"},
      s("svg", {class: "families", height: TALL, role: "img"}, s("title", null), STATES.map((state) => s("path", {class: `family-${state}`}))),
      h("span", {class: "no-families muted"}, "–"),
    ),
    h("td", {role: "cell", class: "at-lead"}, h("span", {class: "lead-spark"}, makeSpark()), h("span", {class: "lead-text"}, h("span", {class: "lead-value num"}), h("span", {class: "lead-name muted"}))),
    h("td", {role: "cell", class: "at-step num"}, h("span", {class: "step-text"}), h("span", {class: "step-bar"}, h("span"))),
    h("td", {role: "cell", class: "at-alerts num"}),
    h("td", {role: "cell", class: "at-owner muted"}),
    h("td", {role: "cell", class: "at-age"}, h("span", {class: "state"}), h("time", {class: "muted num"})),
  );
}

/** @param {HTMLElement} row */
function partsOf(row) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  return {
    box: /** @type {HTMLInputElement} */ (at("input")),
    chip: at(".chip"),
    link: at(".row-link"),
    name: at(".run-name"),
    project: at(".run-project"),
    tags: at(".run-tags"),
    families: /** @type {SVGSVGElement} */ (/** @type {unknown} */ (at(".families"))),
    noFamilies: at(".no-families"),
    spark: /** @type {SVGSVGElement} */ (/** @type {unknown} */ (at(".spark"))),
    value: at(".lead-value"),
    lead: at(".lead-name"),
    step: at(".step-text"),
    bar: at(".step-bar"),
    done: /** @type {HTMLElement} */ (at(".step-bar").firstElementChild),
    alerts: at(".at-alerts"),
    owner: at(".at-owner"),
    state: at(".state"),
    time: at("time"),
  };
}

/** @type {WeakMap<HTMLElement, ReturnType<typeof partsOf>>} looked up once for each row, which shows one run after another */
const parts = new WeakMap();

/**
 * @param {HTMLElement} row
 * @param {Run} run
 * @param {number} place
 * @param {boolean} chosen
 */
export function updateRow(row, run, place, chosen) {
  const at = parts.get(row) ?? partsOf(row);
  parts.set(row, at);
  const index = String(place + 2);
  if (row.getAttribute("aria-rowindex") !== index) row.setAttribute("aria-rowindex", index);
  if (at.box.checked !== chosen) at.box.checked = chosen;
  row.toggleAttribute("data-chosen", chosen);
  const seen = `${run.id} ${run.revision} ${run.state} ${run.verdict} ${run.firing}`;
  if (row.getAttribute("data-seen") === seen) return;
  row.setAttribute("data-seen", seen);
  if (row.getAttribute("data-verdict") !== run.verdict) row.setAttribute("data-verdict", run.verdict);
  const name = run.name || run.id;
  at.box.setAttribute("aria-label", `Choose ${name}`);
  chip(at.chip, run.verdict);
  at.link.setAttribute("href", runHref(run.id));
  at.link.title = name;
  say(at.name, name);
  say(at.project, run.project);
  if (run.tags.length > 0 || at.tags.childElementCount > 0) fill(at.tags, run.tags.map((tag) => h("span", {class: "tag"}, tag)));
  families(at.families, run.families);
  at.noFamilies.hidden = run.families.length > 0;
  showSpark(at.spark, run.lead);
  say(at.value, run.lead ? quantity(run.lead.last, run.lead.unit) : "");
  say(at.lead, run.lead ? spoken(run.lead.statistic) : "");
  const done = run.last_step === null || run.planned_steps === null ? null : Math.min(1, Math.max(0, run.last_step / run.planned_steps));
  say(at.step, done === null ? integer(run.last_step) : `${integer(run.last_step)} · ${Math.floor(100 * done)}\u00a0%`);
  at.bar.hidden = done === null;
  at.done.style.transform = `scaleX(${(done ?? 0).toFixed(3)})`;
  say(at.alerts, plural(run.firing, "alert"));
  at.alerts.classList.toggle("muted", run.firing === 0);
  say(at.owner, run.owner ?? "–");
  state(at.state, run.state);
  at.time.setAttribute("datetime", new Date(run.updated_at * 1000).toISOString());
  showAge(at.time);
}

/** @param {Element} time */
export function showAge(time) {
  say(time, age(Date.parse(time.getAttribute("datetime") ?? "") / 1000, Date.now() / 1000));
}

/**
 * A bar for each family: the worse it stands, the higher. The bars of one state are one path.
 * @param {SVGSVGElement} place
 * @param {{family: string, state: import("./types.js").Verdict}[]} told
 */
function families(place, told) {
  const of = (/** @type {string} */ verdict) => told.filter((one) => one.state === verdict).map((one) => one.family);
  const [bad, odd, fine] = [of("collapsing"), of("watch"), of("fine")];
  const said = [bad.length > 0 && `Collapsing: ${bad.join(", ")}`, odd.length > 0 && `Watch: ${odd.join(", ")}`, fine.length > 0 && `Fine: ${fine.join(", ")}`].filter(Boolean).join(". ");
  const shape = told.map((one) => one.state).join(" ");
  if (place.getAttribute("aria-label") === said && place.getAttribute("data-shape") === shape) return;
  place.setAttribute("aria-label", said);
  place.setAttribute("data-shape", shape);
  place.classList.toggle("nothing-read", told.length === 0);
  const [title, ...paths] = place.children;
  say(title, said);
  place.setAttribute("viewBox", `0 0 ${told.length * CELL} ${TALL}`);
  place.setAttribute("width", String(told.length * CELL));
  STATES.forEach((state, n) => {
    const bars = told.map((one, i) => (one.state === state ? `M${i * CELL} ${TALL}v-${HEIGHTS[state]}h${CELL - 2}v${HEIGHTS[state]}z` : ""));
    paths[n].setAttribute("d", bars.join(""));
  });
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
