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

/**
 * @param {Lead} lead
 * @returns {SVGSVGElement}
 */
export function spark(lead) {
  const {line, odd, end} = shape(lead.spark.steps, lead.spark.values);
  const said = `${spoken(lead.statistic)}, last ${quantity(lead.last, lead.unit)}${odd.length ? `, ${odd.length} not a number` : ""}`;
  return s(
    "svg",
    {class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": said},
    s("path", {class: "spark-line", d: line}),
    odd.map((at) => s("path", {class: "spark-odd", d: `M${at - 2.5} ${HEIGHT - 6}l5 5m0 -5l-5 5`})),
    end && odd[odd.length - 1] !== undefined && odd[odd.length - 1] > end[0]
      ? null
      : end && s("circle", {class: "spark-end", cx: end[0], cy: end[1], r: 2.2}),
  );
}
