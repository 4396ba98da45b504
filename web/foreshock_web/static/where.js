// @ts-check
// An incident -> where it is (layers, experts, codes, heads), and the figures that show which of them. Pure.

import {integer} from "./format.js";

/** @typedef {import("./types.js").Transition} Transition */
/** @typedef {import("./types.js").FigureInfo} FigureInfo */

const NAMED = 3; // places that are named; the others are counted
const MOST = 2; // figures
const TOKENS = new Map([
  ["policy entropy", "entropy-ledger"],
  ["RL signal", "entropy-ledger"],
]);

/**
 * The places at which it fired, each with the entries that were told: `moe.3 (expert 5, expert 7)`.
 * @param {Pick<Transition, "place" | "entry">[]} changes
 */
export function placesOf(changes) {
  /** @type {Map<string, Set<string>>} */
  const found = new Map();
  for (const {place, entry} of changes) {
    const entries = found.get(place) ?? new Set();
    if (entry) entries.add(entry);
    found.set(place, entries);
  }
  const told = [...found].map(([place, entries]) => {
    const some = [...entries].slice(0, NAMED).join(", ") + (entries.size > NAMED ? `, and ${integer(entries.size - NAMED)} more` : "");
    if (!place) return some || "the whole model";
    return some ? `${place} (${some})` : place;
  });
  const more = told.length - NAMED;
  return told.slice(0, NAMED).join(", ") + (more > 0 ? `, and ${integer(more)} more` : "");
}

/**
 * The figures of a run that show which tokens, experts, codes or heads: maps of vectors of the family, and what each kind of token does.
 * @template {Pick<FigureInfo, "name" | "family">} Info
 * @param {Info[]} figures
 * @param {string} family
 * @param {string[]} [statistics] those that fired: their own maps are drawn already
 */
export function whichOf(figures, family, statistics = []) {
  const drawn = new Set(statistics.map((name) => `entries.${name}`));
  const tokens = TOKENS.get(family);
  return figures.filter(({name, family: of}) => name === tokens || (of === family && name.startsWith("entries.") && !drawn.has(name))).slice(0, MOST);
}
