// @ts-check
// A short column of readings -> a line as small as a word. The path is pure; NaN is marked, never skipped over.

import {s} from "./dom.js";
import {quantity} from "./format.js";

/** @typedef {import("./types.js").Reading} Reading */
/** @typedef {import("./types.js").Lead} Lead */

export const WIDTH = 132;
export const HEIGHT = 30;
const PAD = 3;

/**
 * @param {number[]} steps
 * @param {(Reading | null)[]} values null: nothing was read there
 * @returns {{line: string, odd: number[], end: [number, number] | null}} an SVG path; where readings were no numbers; the last finite point
 */
export function shape(steps, values) {
  const numbers = values.map((value) => (value === null ? NaN : Number(value)));
  const finite = numbers.filter(Number.isFinite);
  const low = Math.min(0, ...finite); // from zero, so that noise on a healthy level looks as small as it is
  const high = Math.max(0, ...finite);
  const first = Math.min(...steps);
  const span = Math.max(...steps) - first || 1;
  const x = (/** @type {number} */ step) => round(PAD + ((step - first) / span) * (WIDTH - 2 * PAD));
  const y = (/** @type {number} */ value) =>
    round(high === low ? HEIGHT / 2 : HEIGHT - PAD - ((value - low) / (high - low)) * (HEIGHT - 2 * PAD));
  let line = "";
  let pen = "M";
  /** @type {number[]} */
  const odd = [];
  /** @type {[number, number] | null} */
  let end = null;
  numbers.forEach((value, i) => {
    if (i > 0 && steps[i] < steps[i - 1]) pen = "M"; // a resumed run goes back: a new line, not a zigzag
    if (Number.isFinite(value)) {
      end = [x(steps[i]), y(value)];
      line += `${pen}${end[0]} ${end[1]}`;
      pen = "L";
    } else {
      if (values[i] !== null) odd.push(x(steps[i]));
      pen = "M";
    }
  });
  return {line, odd, end};
}

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/**
 * The statistic's name as people say it.
 * @param {string} statistic
 */
export const spoken = (statistic) => statistic.replaceAll("_", " ");

/** @typedef {{said: string, line: string, odd: string, end: [number, number] | null}} Drawn */

/** @type {WeakMap<Lead, Drawn>} of leads that have been in sight: a list is scrolled up and down */
const drawn = new WeakMap();

/** @param {Lead} lead @returns {Drawn} */
function drawnOf(lead) {
  const known = drawn.get(lead);
  if (known) return known;
  const {line, odd, end} = shape(lead.spark.steps, lead.spark.values);
  const said = `${spoken(lead.statistic)}, last ${quantity(lead.last, lead.unit)}${odd.length ? `, ${odd.length} not a number` : ""}`;
  const hidden = end !== null && odd.length > 0 && odd[odd.length - 1] > end[0];
  const found = {said, line, odd: odd.map((at) => `M${at - 2.5} ${HEIGHT - 6}l5 5m0 -5l-5 5`).join(""), end: hidden ? null : end};
  drawn.set(lead, found);
  return found;
}

/** A place for a line; `showSpark` draws it. @returns {SVGSVGElement} */
export function makeSpark() {
  return s(
    "svg",
    {class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img"},
    s("path", {class: "spark-line"}),
    s("path", {class: "spark-odd"}),
    s("path", {class: "spark-end"}),
  );
}

/** Draw this line there instead of the one before; null: none. @param {SVGSVGElement} place @param {Lead | null} lead */
export function showSpark(place, lead) {
  const {said, line, odd, end} = lead ? drawnOf(lead) : {said: "", line: "", odd: "", end: null};
  const dot = end === null ? "" : `M${end[0]} ${end[1]}h0`; // a round cap is a disc
  place.setAttribute("aria-label", said);
  place.classList.toggle("nothing-read", lead === null);
  [line, odd, dot].forEach((path, i) => set(place.children[i], "d", path));
}

/** @param {Element} element @param {string} name @param {string} value */
function set(element, name, value) {
  if ((element.getAttribute(name) ?? "") !== value) element.setAttribute(name, value);
}
