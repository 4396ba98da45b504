// @ts-check
// What a pointer or a zoom means in steps. Pure.

import {stepAt} from "./look.js";

/**
 * The index of the value that is nearest; breaks of a line have places too, so all ascend.
 * @param {ArrayLike<number>} values ascending, at least one
 * @param {number} wanted
 */
export function nearest(values, wanted) {
  let low = 0;
  let high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] <= wanted) low = middle;
    else high = middle;
  }
  return wanted - values[low] <= values[high] - wanted ? low : high;
}

/**
 * What plotly tells of a zoom -> the steps that are left, null where it tells of something else.
 * @param {Record<string, any>} event
 * @param {{axes?: string[], ruler?: import("./look.js").Ruler} | undefined} meta
 * @returns {{first: number | null, last: number | null} | null}
 */
export function zoomed(event, meta) {
  for (const axis of meta?.axes ?? []) {
    if (event[`${axis}.autorange`]) return {first: null, last: null};
    const [low, high] = event[`${axis}.range`] ?? [event[`${axis}.range[0]`], event[`${axis}.range[1]`]];
    if (typeof low !== "number" || typeof high !== "number") continue;
    const [first, last] = [low, high].map((place) => stepAt(meta?.ruler ?? null, place)).sort((a, b) => a - b);
    const inner = {first: Math.ceil(first), last: Math.floor(last)};
    return inner.first <= inner.last ? inner : {first: Math.floor(first), last: Math.ceil(last)};
  }
  return null;
}
