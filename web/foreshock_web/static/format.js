// @ts-check
// Numbers and times -> the words on the page. Pure; English, whatever the browser speaks, so that two people see the same.

/** @typedef {import("./types.js").Reading} Reading */

const MINUS = "\u2212";
const NO_BREAK = "\u00a0";

/**
 * A reading in at most four significant digits; what is no number says so.
 * @param {Reading | null | undefined} value
 * @returns {string}
 */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const x = Number(value);
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : `${MINUS}∞`;
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e7 || size < 1e-3) return x.toExponential(2).replace("e+", "e").replaceAll("-", MINUS);
  if (Number.isInteger(x)) return integer(x);
  if (size >= 1e4) return integer(Math.round(x));
  return String(Number(x.toPrecision(size >= 1000 ? 5 : size >= 1 ? 4 : 3))).replace("-", MINUS);
}

/**
 * A reading with its unit; a share is a plain number between 0 and 1.
 * @param {Reading | null | undefined} value
 * @param {string} [unit]
 */
export function quantity(value, unit = "") {
  return unit && unit !== "share" && value !== null && value !== undefined ? `${number(value)}${NO_BREAK}${unit}` : number(value);
}

/**
 * A sentence of the server in which no number is torn from its percent sign.
 * @param {string} text
 */
export const sentence = (text) => text.replaceAll(" %", `${NO_BREAK}%`);

/**
 * A whole number with thousands apart.
 * @param {number | null | undefined} value
 */
export function integer(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en-US", {maximumFractionDigits: 0}).replace("-", MINUS);
}

/**
 * How long: "45 s", "1 min 39 s", "12 min", "3 h 12 min", "2 d 4 h".
 * @param {number} seconds
 */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}${NO_BREAK}s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 10 && s % 60) return `${minutes}${NO_BREAK}min ${s % 60}${NO_BREAK}s`;
  if (minutes < 60) return `${minutes}${NO_BREAK}min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours}${NO_BREAK}h ${minutes % 60}${NO_BREAK}min` : `${hours}${NO_BREAK}h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days}${NO_BREAK}d ${hours % 24}${NO_BREAK}h` : `${days}${NO_BREAK}d`;
}

/**
 * How long ago, in one unit: "now", "40 s ago", "3 min ago", "5 d ago".
 * @param {number} then seconds
 * @param {number} now seconds
 */
export function age(then, now) {
  const s = now - then;
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)}${NO_BREAK}s ago`;
  if (s < 3600) return `${Math.floor(s / 60)}${NO_BREAK}min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)}${NO_BREAK}h ago`;
  return `${Math.floor(s / 86400)}${NO_BREAK}d ago`;
}

/**
 * A moment on the reader's clock: "20 Nov, 23:04".
 * @param {number} seconds
 */
export function moment(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", {day: "numeric", month: "short", hour: "2-digit", minute: "2-digit"});
}

/**
 * Seconds from now until that hour of the next day, on the reader's clock.
 * @param {Date} now
 * @param {number} hour
 */
export function tomorrow(now, hour) {
  return (new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1, hour).getTime() - now.getTime()) / 1000;
}

/**
 * "1 alert", "3 alerts".
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${integer(count)} ${count === 1 ? one : many}`;
}

/**
 * A step range in words.
 * @param {number} first
 * @param {number} last
 */
export function steps(first, last) {
  return first === last ? `step ${integer(first)}` : `steps ${integer(first)} to ${integer(last)}`;
}

/**
 * A family's name as a heading: "policy entropy" -> "Policy entropy".
 * @param {string} text
 */
export const heading = (text) => text.charAt(0).toUpperCase() + text.slice(1);
