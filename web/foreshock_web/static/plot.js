// @ts-check
// The plotly.js that the server's plotly package carries, fetched when the first chart is drawn; and how the page draws with it.

/** @typedef {{data: Record<string, any>[], layout: Record<string, any>}} Figure */
/** @typedef {{react: (element: HTMLElement, data: object[], layout: object, config: object) => Promise<unknown>, toImage: (figure: {data: object[], layout: object}, options: object) => Promise<string>, purge: (element: HTMLElement) => void, Plots: {resize: (element: HTMLElement) => void}}} Plotly */

/** @type {Promise<Plotly> | undefined} */
let loading;

/** The address of plotly.js; null: the page does not say. */
const source = () => document.querySelector('meta[name="plotly"]')?.getAttribute("content") ?? null;

/** @returns {Promise<Plotly>} */
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const src = source();
    if (!src) {
      reject(new Error("The page does not say where plotly.js is."));
      return;
    }
    const script = document.createElement("script");
    script.src = src;
    script.addEventListener("load", () => resolve(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      loading = undefined; // the server was away: the next chart tries again
      reject(new Error("plotly.js could not be loaded."));
    });
    document.head.append(script);
  });
  return loading;
}

/** Have plotly.js on its way; to run it holds everything up for half a second, which what is read first need not wait for. */
export function fetchAhead() {
  const href = source();
  const link = document.createElement("link");
  Object.assign(link, {rel: "preload", as: "script", href});
  if (href) document.head.append(link);
}

/** Run plotly.js before the first figure is there. */
export function preload() {
  plotly().catch(() => {}); // the first chart tries again, and says what is wrong
}

const CONFIG = {
  displaylogo: false,
  responsive: false, // the panel watches its own size
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
};

const NARROW = 520;

/**
 * Draw or redraw; a zoom that somebody chose stays, because the figure's uirevision does.
 * @param {HTMLElement} element
 * @param {Figure} figure
 */
export async function draw(element, figure) {
  const lib = await plotly();
  /** @type {Record<string, any>} */
  const layout = {...figure.layout, autosize: true, uirevision: "kept"};
  delete layout.width;
  layout.height = element.clientHeight;
  const finger = window.matchMedia("(pointer: coarse)").matches;
  if (finger) layout.dragmode = false; // it scrolls the page
  if (element.clientWidth < NARROW) narrow(layout);
  await lib.react(element, figure.data, layout, {...CONFIG, displayModeBar: finger ? false : "hover"});
}

/**
 * What is drawn, as the address of a picture that says what it is.
 * @param {HTMLElement} element
 * @param {string} title
 * @param {"png" | "svg"} format
 */
export async function picture(element, title, format) {
  const {data, layout} = /** @type {any} */ (element);
  if (!data) throw new Error("Nothing is drawn yet.");
  const lib = await plotly();
  const paper = getComputedStyle(element.closest("figure-panel") ?? element).backgroundColor;
  const width = Math.max(element.clientWidth, 640);
  const height = element.clientHeight + 28;
  const titled = {...layout, width, height, paper_bgcolor: paper, margin: {...layout.margin, t: (layout.margin?.t ?? 22) + 28}, title: {text: title.replaceAll("<", "&lt;"), x: 0.01, y: 0.98, yanchor: "top", font: {size: 15}}};
  return lib.toImage({data, layout: titled}, {format, width, height, scale: format === "png" ? 2 : 1});
}

/**
 * Where the steps of a chart lie on the screen.
 * @param {HTMLElement} element
 * @returns {{left: number, width: number, pixel: (place: number) => number, place: (pixel: number) => number} | null} in pixels of the element
 */
export function scaleOf(element) {
  const full = /** @type {any} */ (element)._fullLayout;
  const axis = full?.[full.meta?.axes?.[0]];
  if (!axis?.c2p) return null;
  return {left: axis._offset, width: axis._length, pixel: (place) => axis._offset + axis.c2p(place), place: (pixel) => axis.p2c(pixel - axis._offset)};
}

/** @param {Record<string, any>} layout */
function narrow(layout) {
  layout.legend = {...layout.legend, font: {...layout.legend?.font, size: 10}, itemwidth: 30};
  layout.margin = {...layout.margin, l: Math.min(layout.margin?.l ?? 40, 40), r: Math.min(layout.margin?.r ?? 8, 40)};
}

/** Give back what a chart holds. @param {HTMLElement} element */
export async function forget(element) {
  if (loading) (await loading).purge(element);
}

/** Fit the chart to its box. @param {HTMLElement} element */
export async function fit(element) {
  if (loading && element.childElementCount > 0 && element.clientWidth > 0) (await loading).Plots.resize(element);
}
