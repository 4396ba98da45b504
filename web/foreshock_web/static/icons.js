// @ts-check
// Shapes for states. Each state has its own outline, so that no one needs to tell the colours apart.

import {s} from "./dom.js";

/** @type {Record<string, string>} outlines in a 16 × 16 box */
const PATHS = {
  // verdicts: a disc, a triangle, an octagon, a dash
  fine: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11Z M5.4 8.2l1.8 1.8 3.5-3.9",
  watch: "M8 2.2 14.4 13.4H1.6Z M8 6.4v3.2 M8 11.4v.3",
  collapsing: "M5.3 1.6h5.4l3.7 3.7v5.4l-3.7 3.7H5.3l-3.7-3.7V5.3Z M8 4.6v4.2 M8 11v.3",
  none: "M4 8h8",
  // what a run does: a beating dot, a hollow ring, a square, a cross
  running: "M8 5a3 3 0 1 1 0 6a3 3 0 0 1 0-6Z",
  silent: "M8 3.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9Z",
  finished: "M4 4h8v8H4Z",
  failed: "M4 4l8 8 M12 4l-8 8",
  // actions
  code: "M5.6 4.4 2 8l3.6 3.6 M10.4 4.4 14 8l-3.6 3.6",
  explain: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11Z M6.3 6.4a1.7 1.7 0 1 1 2.600 1.450c-.6.4-.9.7-.9 1.350 M8 11.100v.3",
  more: "M3.5 8h.01 M8 8h.01 M12.500 8h.01",
  sun: "M8 5.2a2.8 2.8 0 1 1 0 5.6a2.8 2.8 0 0 1 0-5.6Z M8 1.4v1.4 M8 13.2v1.4 M1.4 8h1.4 M13.2 8h1.4 M3.3 3.3l1 1 M11.7 11.7l1 1 M12.7 3.3l-1 1 M4.3 11.7l-1 1",
  leave: "M6.5 2.800H3v10.400h3.500 M6.500 8H13 M10.400 5.400 13 8l-2.600 2.600",
  moon: "M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6Z",
};

const FILLED = new Set(["fine", "watch", "collapsing", "running", "finished"]);

/**
 * @param {string} name
 * @param {string} [label] read aloud; without it the shape is decoration beside a word
 * @returns {SVGSVGElement}
 */
export function icon(name, label) {
  const [outline, ...marks] = (PATHS[name] ?? PATHS.none).split(/ (?=M)/);
  const filled = FILLED.has(name);
  return s(
    "svg",
    {
      class: `icon icon-${name}`,
      viewBox: "0 0 16 16",
      width: 16,
      height: 16,
      ...(label ? {role: "img", "aria-label": label} : {"aria-hidden": "true"}),
    },
    s("path", {d: outline, class: filled ? "shape" : "stroke"}),
    marks.length > 0 && s("path", {d: marks.join(" "), class: filled ? "mark" : "stroke"}),
  );
}

/** @type {Record<string, string>} */
const WORDS = {
  fine: "Fine",
  watch: "Watch",
  collapsing: "Collapsing",
  none: "No verdict",
  running: "Running",
  silent: "Silent",
  finished: "Finished",
  failed: "Failed",
  "resolved-spike": "Resolved spike",
};

/**
 * The word for a state.
 * @param {string} state
 */
export function word(state) {
  return WORDS[state] ?? state;
}
