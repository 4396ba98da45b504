// @ts-check
// The curve of a series, the lines that a rule compares it with, and how its alert stood: a small chart. The geometry is pure.

import {h, s} from "./dom.js";
import {integer, number, quantity} from "./format.js";

/** @typedef {import("./types.js").Reading} Reading */
/** @typedef {{steps: number[], values: (Reading | null)[]}} Curve a null: no reading at that step */
/** @typedef {{first: number, last: number, state: string, severity: string | null}} Stretch */
/** @typedef {{name: string, points: [number, number][]}} Line by step, held until the next; one point is a level throughout */

export const WIDTH = 1000;
export const HEIGHT = 100;
const PAD = 6;
const MOST_POINTS = 4000; // of one curve

/**
 * Where things are in a box of WIDTH by HEIGHT: the curve's path, those of the lines, and what the edges mean.
 * @param {Curve} curve
 * @param {Line[]} lines
 */
export function geometry(curve, lines) {
  const {steps, values} = thinned(curve);
  const finite = values.filter((value) => value !== null).map(Number).filter(Number.isFinite);
  const levels = lines.flatMap(({points}) => points.map(([, level]) => level)).filter(Number.isFinite);
  const all = [...finite, ...levels];
  let low = all.reduce((a, b) => Math.min(a, b), Infinity);
  let high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(low)) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 10, high + Math.abs(high || 1) / 10];
  const first = steps.length ? steps.reduce((a, b) => Math.min(a, b)) : 0;
  const last = steps.length ? steps.reduce((a, b) => Math.max(a, b)) : 1;
  const x = (/** @type {number} */ step) => round(((Math.min(Math.max(step, first), last) - first) / (last - first || 1)) * WIDTH);
  const y = (/** @type {number} */ value) => round(HEIGHT - PAD - ((value - low) / (high - low)) * (HEIGHT - 2 * PAD));
  let path = "";
  let pen = "M";
  /** @type {number[]} */
  const odd = [];
  values.forEach((value, i) => {
    if (i > 0 && steps[i] < steps[i - 1]) pen = "M"; // a resumed run goes back
    const at = value === null ? NaN : Number(value);
    if (Number.isFinite(at)) {
      path += `${pen}${x(steps[i])} ${y(at)}`;
      pen = "L";
    } else {
      if (value !== null) odd.push(x(steps[i]));
      pen = "M";
    }
  });
  return {first, last, low, high, x, y, path, odd, lines: lines.map((line) => ({...line, d: stairs(line.points, x, y)}))};
}

/** @param {[number, number][]} points @param {(step: number) => number} x @param {(value: number) => number} y */
function stairs(points, x, y) {
  let d = "";
  points.forEach(([step, level], i) => {
    const from = i === 0 ? 0 : x(step);
    const to = i === points.length - 1 ? WIDTH : x(points[i + 1][0]);
    d += `${i === 0 ? "M" : "L"}${from} ${y(level)}L${to} ${y(level)}`;
  });
  return d;
}

/** The lowest and the highest of each bucket, and all that is no number. @param {Curve} curve @returns {Curve} */
export function thinned({steps, values}) {
  if (steps.length <= MOST_POINTS) return {steps, values};
  const size = Math.ceil((2 * steps.length) / MOST_POINTS);
  /** @type {number[]} */
  const kept = [];
  for (let start = 0; start < steps.length; start += size) {
    let low = -1;
    let high = -1;
    for (let i = start; i < Math.min(start + size, steps.length); i += 1) {
      const value = values[i] === null ? NaN : Number(values[i]);
      if (!Number.isFinite(value)) kept.push(i);
      else {
        if (low < 0 || value < Number(values[low])) low = i;
        if (high < 0 || value > Number(values[high])) high = i;
      }
    }
    if (low >= 0) kept.push(low);
    if (high >= 0 && high !== low) kept.push(high);
  }
  kept.sort((a, b) => a - b);
  return {steps: kept.map((i) => steps[i]), values: kept.map((i) => values[i])};
}

/** @param {number} value */
const round = (value) => Math.round(value * 100) / 100;

/**
 * The lines of a detector that are levels of their own; those by a baseline are known only where readings are.
 * @param {Record<string, unknown>} detector
 * @returns {Line[]}
 */
export function linesOf(detector) {
  if (detector.relative_to_baseline) return [];
  const named = /** @type {const} */ ([["below", "below"], ["above", "above"], ["critical", "critical"], ["clear", "resolves at"], ["low", "low"], ["high", "high"], ["critical_low", "critical"], ["critical_high", "critical"], ["absolute", "absolute"], ["absolute_critical", "critical"]]);
  const leveled = ["threshold", "band"].includes(String(detector.kind));
  return named
    .filter(([name]) => typeof detector[name] === "number" && (leveled || name.startsWith("absolute")))
    .map(([name, word]) => ({name: word, points: [[0, /** @type {number} */ (detector[name])]]}));
}

/**
 * The lines as a backtest found them, at each change and at the end.
 * @param {Record<string, any>[]} levels
 * @returns {Line[]}
 */
export function linesAsCompared(levels) {
  const named = /** @type {const} */ ([["baseline", "baseline"], ["warn_level", "warning"], ["threshold", "threshold"], ["clear", "resolves at"]]);
  return named.flatMap(([key, word]) => {
    /** @type {[number, number][]} */
    const points = levels.filter((one) => typeof one[key] === "number").map((one) => [one.step, one[key]]);
    const critical = key === "threshold" && levels.some((one) => typeof one.warn_level === "number");
    const same = key === "clear" && levels.every((one) => one.clear === (one.warn_level ?? one.threshold));
    return points.length > 0 && !same ? [{name: critical ? "critical" : word, points}] : [];
  });
}

/**
 * How the alert stood, in words.
 * @param {Stretch[]} states
 */
export function told(states) {
  if (states.length === 0) return "Nothing fires.";
  const said = states.slice(0, 6).map(({first, last, state, severity}) => `${state}${severity ? ` (${severity})` : ""} ${first === last ? `at step ${integer(first)}` : `from step ${integer(first)} to ${integer(last)}`}`);
  return `${said.join(", ")}${states.length > 6 ? `, and ${states.length - 6} more` : ""}.`;
}

/** @param {Stretch} one */
const shade = ({state, severity}) => (state === "firing" ? (severity === "critical" ? "critical" : "warning") : state === "pending" ? "pending" : state === "not firing" || state === "ok" ? "ok" : "due");

/**
 * @param {{curve: Curve, lines: Line[], states?: Stretch[], expected?: Stretch[], title: string, unit?: string}} given
 */
export function ruleChart({curve, lines, states, expected, title, unit = ""}) {
  const {first, last, low, high, x, y, path, odd, lines: drawn} = geometry(curve, lines);
  const wide = (/** @type {Stretch} */ one) => Math.max(x(one.last) - x(one.first), WIDTH / 250);
  const plot = h(
    "div",
    {class: "rc-plot", role: "img", "aria-label": `${title}, steps ${integer(first)} to ${integer(last)}, ${quantity(low, unit)} to ${quantity(high, unit)}. ${drawn.map((line) => `${line.name} ${number(line.points[line.points.length - 1][1])}`).join(", ")}`},
    s(
      "svg",
      {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true"},
      (states ?? []).map((one) => s("rect", {class: `rc-shade rc-${shade(one)}`, x: x(one.first), y: 0, width: wide(one), height: HEIGHT})),
      s("path", {class: "rc-curve", d: path}),
      odd.map((at) => s("path", {class: "rc-odd", d: `M${at} ${HEIGHT - 14}V${HEIGHT}`})),
      drawn.map((line) => s("path", {class: `rc-line rc-line-${line.name.split(" ")[0]}`, d: line.d})),
    ),
    h("span", {class: "rc-high"}, quantity(high, unit)),
    h("span", {class: "rc-low"}, quantity(low, unit)),
  );
  for (const line of drawn) {
    const level = line.points[line.points.length - 1][1];
    const label = h("span", {class: `rc-label rc-label-${line.name.split(" ")[0]}`}, `${line.name} ${number(level)}`);
    label.style.top = `${y(level)}%`;
    plot.append(label);
  }
  return h(
    "figure",
    {class: "rule-chart"},
    h("figcaption", {class: "rc-title"}, title),
    plot,
    expected && strip("expected", expected, x, wide),
    states && strip(expected ? "actual" : "alert", states, x, wide),
    h("div", {class: "rc-axis", "aria-hidden": "true"}, h("span", null, integer(first)), h("span", null, `step ${integer(last)}`)),
  );
}

/** @param {string} name @param {Stretch[]} states @param {(step: number) => number} x @param {(one: Stretch) => number} wide */
function strip(name, states, x, wide) {
  const cells = states.map((one) => {
    const cell = h("span", {class: `rc-cell rc-cell-${shade(one)}`});
    cell.style.left = `${x(one.first) / (WIDTH / 100)}%`;
    cell.style.width = `${wide(one) / (WIDTH / 100)}%`;
    return cell;
  });
  return h("div", {class: "rc-strip"}, h("span", {class: "rc-name"}, name), h("div", {class: "rc-cells", role: "img", "aria-label": `${name}: ${told(states)}`}, cells));
}
