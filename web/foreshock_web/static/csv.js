// @ts-check
// Numbers -> lines of CSV (RFC 4180). Pure. What is no number keeps its name: NaN, Infinity, -Infinity.

import {numbers} from "./growth.js";

/** @typedef {import("./types.js").Reading} Reading */
/** @typedef {{key: string, axis: {name: string, size: number, ticks?: unknown[]} | null, steps: (number | string)[], times: number[], values: (Reading | Reading[])[]}} Columns */

const END = "\r\n";

/** A field; quoted where it must be. @param {unknown} value */
export function field(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * A line per reading; of a vector a line per entry.
 * @param {{series: Columns[]}} answer
 */
export function asCsv({series}) {
  const vectors = series.some((one) => one.axis);
  const lines = [vectors ? "key,entry,step,time,value" : "key,step,time,value"];
  for (const {key, steps, times, values} of series) {
    const name = field(key);
    for (let i = 0; i < steps.length; i += 1) {
      const value = values[i];
      if (Array.isArray(value)) value.forEach((one, entry) => lines.push(`${name},${entry},${steps[i]},${times[i]},${one}`));
      else lines.push(vectors ? `${name},,${steps[i]},${times[i]},${value}` : `${name},${steps[i]},${times[i]},${value}`);
    }
  }
  return lines.join(END) + END;
}

/**
 * The cells of a map, a line each: the mean over the steps from <= step < to.
 * @param {{series: string[], edges: number[], values: {dtype: string, bdata: string}}} answer
 */
export function matrixCsv({series, edges, values}) {
  const lines = ["key,from,to,mean"];
  const means = numbers(values);
  const columns = edges.length - 1;
  series.forEach((key, i) => {
    const name = field(key);
    for (let j = 0; j < columns; j += 1) lines.push(`${name},${edges[j]},${edges[j + 1]},${means[i * columns + j]}`);
  });
  return lines.join(END) + END;
}
