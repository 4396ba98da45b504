// @ts-check
// How all panels of a view are looked at together: which steps, over what, on which scale, how smooth; and the step that somebody points at.

/** @typedef {import("./plot.js").Figure} Figure */
/** @typedef {"step" | "time" | "tokens"} X */
/** @typedef {"raw" | "medians" | "wide"} Smooth */
/** @typedef {{x: X, log: boolean, smooth: Smooth, first: number | null, last: number | null}} Choice first and last: ends included, null: to the end */
/** @typedef {{steps: number[], at: number[]} | null} Ruler where steps lie on an axis that counts something else */

/** @type {Readonly<Choice>} */
export const PLAIN = Object.freeze({x: "step", log: false, smooth: "medians", first: null, last: null});
export const COURSE = "course"; // what the server calls a line of medians
const WIDE = 7; // medians of which one of a wide smoothing is the middle

/** What is chosen, and who wants to know of a change. */
export class Look {
  /** @param {Partial<Choice>} [choice] */
  constructor(choice = {}) {
    /** @type {Choice} */
    this.choice = {...PLAIN, ...choice};
    /** @type {number | null} */
    this.step = null;
    /** @type {Set<() => void>} */
    this.onChange = new Set();
    /** @type {Set<() => void>} */
    this.onPoint = new Set();
    this.waiting = false;
  }

  /** @param {Partial<Choice>} change */
  choose(change) {
    const before = JSON.stringify(this.choice);
    this.choice = {...this.choice, ...change};
    if (JSON.stringify(this.choice) === before) return;
    for (const tell of this.onChange) tell();
  }

  /** Somebody points at this step; null: at none. Those who follow hear of it once per picture. @param {number | null} step */
  point(step) {
    if (step === this.step) return;
    this.step = step;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      for (const tell of this.onPoint) tell();
    });
  }
}

/**
 * What an address says of a look, and the other way round.
 * @param {URLSearchParams} said
 * @returns {Choice}
 */
export function fromAddress(said) {
  const x = said.get("x");
  const smooth = said.get("smooth");
  const [first, last] = ["first", "last"].map((name) => (/^-?\d{1,15}$/.test(said.get(name) ?? "") ? Number(said.get(name)) : null));
  const ordered = first === null || last === null || first <= last;
  return {
    x: x === "time" || x === "tokens" ? x : "step",
    log: said.get("log") === "1",
    smooth: smooth === "raw" || smooth === "wide" ? smooth : "medians",
    first: ordered ? first : null,
    last: ordered ? last : null,
  };
}

/** @param {Choice} choice @returns {Record<string, string | number | null>} only what is not as usual */
export function toAddress({x, log, smooth, first, last}) {
  return {x: x === PLAIN.x ? null : x, log: log ? 1 : null, smooth: smooth === PLAIN.smooth ? null : smooth, first, last};
}

/** @param {number} value @param {number[]} from ascending @param {number[]} to */
function between(value, from, to) {
  const end = from.length - 1;
  if (end < 1) return to[0];
  let low = 0;
  let high = end;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle] <= value) low = middle;
    else high = middle;
  }
  const width = from[high] - from[low];
  return width > 0 ? to[low] + ((value - from[low]) / width) * (to[high] - to[low]) : to[low];
}

/** Where a step lies. @param {Ruler} ruler @param {number} step */
export const placeOf = (ruler, step) => (ruler ? between(step, ruler.steps, ruler.at) : step);
/** Which step lies there. @param {Ruler} ruler @param {number} place */
export const stepAt = (ruler, place) => (ruler ? between(place, ruler.at, ruler.steps) : place);

/**
 * Whether what came must be asked for again to show this choice: another axis, or a range in more detail than there is.
 * @param {Figure | null} figure
 * @param {{first: number | null, last: number | null}} range for which it was asked
 * @param {Choice} choice
 */
export function mustAsk(figure, range, choice) {
  const meta = figure?.layout.meta;
  if (!meta || meta.x !== choice.x) return true;
  if (range.first === choice.first && range.last === choice.last) return false;
  const whole = range.first === null && range.last === null;
  return !(whole && !meta.thinned);
}

/**
 * The figure as this choice shows it; what came stays as it is.
 * @param {Figure} figure
 * @param {Choice} choice
 * @returns {{figure: Figure, hidden: number}} hidden: readings that a logarithmic scale has no place for
 */
export function arranged(figure, choice) {
  const layout = {...figure.layout};
  const meta = layout.meta ?? {};
  /** @type {string[]} */
  const axes = meta.axes ?? [];
  const {first, last} = choice;
  for (const name of axes) {
    const axis = {...layout[name], uirevision: `${choice.x} ${first} ${last}`};
    if (first !== null || last !== null) {
      axis.range = [first, last].map((step) => (step === null ? null : placeOf(meta.ruler, step)));
      axis.autorange = first === null ? "min" : last === null ? "max" : false;
    }
    layout[name] = axis;
  }
  let data = smoothed(figure.data, choice.smooth);
  let hidden = 0;
  if (choice.log && axes.length > 0) ({data, hidden} = logarithmic(data, layout));
  return {figure: {data, layout}, hidden};
}

/** The raw line is never hidden: alone it stands at full strength, else beneath its medians. @param {Record<string, any>[]} data @param {Smooth} smooth */
function smoothed(data, smooth) {
  if (smooth === "medians") return data;
  if (smooth === "wide") return data.map((trace) => (trace.meta === COURSE ? {...trace, y: middles(trace.y)} : trace));
  const courses = data.filter((trace) => trace.meta === COURSE);
  return data
    .filter((trace) => trace.meta !== COURSE)
    .map((trace) => {
      const course = courses.find((one) => one.legendgroup && one.legendgroup === trace.legendgroup && trace.mode === "lines");
      return course ? {...trace, line: {...course.line, width: 1.25}, showlegend: true} : trace;
    });
}

/** Of each value the median of those around it; a break stays a break. @param {ArrayLike<number>} values */
export function middles(values) {
  const half = (WIDE - 1) / 2;
  return Float64Array.from({length: values.length}, (_, i) => {
    if (Number.isNaN(values[i])) return Number.NaN;
    const around = [];
    for (let j = Math.max(0, i - half); j <= Math.min(values.length - 1, i + half); j += 1) if (!Number.isNaN(values[j])) around.push(values[j]);
    around.sort((a, b) => a - b);
    const middle = around.length >> 1;
    return around.length % 2 ? around[middle] : (around[middle - 1] + around[middle]) / 2;
  });
}

/** @param {Record<string, any>[]} data @param {Record<string, any>} layout changed */
function logarithmic(data, layout) {
  let hidden = 0;
  /** @type {Set<string>} */
  const turned = new Set();
  for (const trace of data) {
    const name = trace.yaxis ?? "y";
    const axis = layout[`yaxis${name.slice(1)}`];
    const counts = trace.type === "scatter" && axis?.visible !== false && axis?.type !== "log";
    if (!counts || !data.some((one) => (one.yaxis ?? "y") === name && one.type === "scatter" && some(one.y, (y) => y > 0))) continue;
    turned.add(`yaxis${name.slice(1)}`);
    if (trace.meta && trace.meta !== COURSE) for (let i = 0; i < trace.y.length; i += 1) hidden += trace.y[i] <= 0 ? 1 : 0;
  }
  if (data.some((trace) => trace.type === "heatmap" && !trace.xaxis)) return {data, hidden: 0}; // rows are no scale
  for (const name of turned) {
    const {range: _range, rangemode: _mode, autorangeoptions: _options, ...axis} = layout[name] ?? {};
    layout[name] = {...axis, type: "log", autorange: true, exponentformat: "power", uirevision: "log"};
  }
  return {data, hidden};
}

/** @param {ArrayLike<number> | undefined} values @param {(value: number) => boolean} test */
function some(values, test) {
  for (let i = 0; i < (values?.length ?? 0); i += 1) if (test(/** @type {ArrayLike<number>} */ (values)[i])) return true;
  return false;
}
