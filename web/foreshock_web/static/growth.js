// @ts-check
// A figure and what is new of it -> the figure as it is now. Pure.

/** @typedef {import("./plot.js").Figure} Figure */
/** @typedef {ArrayLike<number>} Line */

/** @type {Record<string, new (buffer: ArrayBuffer) => ArrayLike<number>>} */
const TYPES = {
  i1: Int8Array,
  u1: Uint8Array,
  i2: Int16Array,
  u2: Uint16Array,
  i4: Int32Array,
  u4: Uint32Array,
  f4: Float32Array,
  f8: Float64Array,
};

/**
 * The numbers of a line, as plotly writes them.
 * @param {number[] | {dtype: string, bdata: string}} written
 * @returns {Line}
 */
export function numbers(written) {
  if (Array.isArray(written)) return written;
  const bytes = Uint8Array.from(atob(written.bdata), (letter) => letter.charCodeAt(0));
  return new TYPES[written.dtype](bytes.buffer);
}

/**
 * The first `keep` of the old numbers and the new ones behind them; the old ones themselves where nothing came.
 * @param {Line} old
 * @param {number} keep
 * @param {Line} fresh
 */
export function joined(old, keep, fresh) {
  if (old.length === keep && fresh.length === 0) return old;
  const line = new Float64Array(keep + fresh.length);
  for (let i = 0; i < keep; i += 1) line[i] = old[i];
  line.set(fresh, keep);
  return line;
}

/**
 * The whole figure; `layout.meta.kept` of the news says how much of each of the old lines stays.
 * @param {Figure | null} old
 * @param {Figure} news
 * @returns {Figure}
 */
export function grown(old, news) {
  const data = news.data.map((trace, i) => {
    if (!trace.x || !trace.y || trace.type !== "scatter") return trace;
    const keep = news.layout.meta.kept[i];
    const before = old?.data[i];
    const [x, y] = ["x", "y"].map((axis) => (keep > 0 && before ? joined(before[axis], keep, numbers(trace[axis])) : numbers(trace[axis])));
    return {...trace, x, y};
  });
  return {...news, data};
}
