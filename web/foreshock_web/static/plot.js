// @ts-check
// The plotly.js that the server's plotly package carries, fetched when the first chart is drawn; and how the page draws with it.

/** @typedef {{data: Record<string, any>[], layout: Record<string, any>}} Figure */
/** @typedef {{react: (element: HTMLElement, data: object[], layout: object, config: object) => Promise<unknown>, purge: (element: HTMLElement) => void, Plots: {resize: (element: HTMLElement) => void}}} Plotly */

/** @type {Promise<Plotly> | undefined} */
let loading;

/** @returns {Promise<Plotly>} */
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const src = document.querySelector('meta[name="plotly"]')?.getAttribute("content");
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
