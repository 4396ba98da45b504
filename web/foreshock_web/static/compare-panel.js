// @ts-check
// One series of several runs as a figure: fetched when it is in sight, and again when a run grew or somebody looks at it otherwise.

import {get} from "./api.js";
import {showCode} from "./code.js";
import {lines, request} from "./compare-query.js";
import {fill, h, say} from "./dom.js";
import {icon} from "./icons.js";
import {draw, fit, forget} from "./plot.js";
import {theme} from "./theme.js";

/** @typedef {import("./compare-query.js").Way} Way */

/**
 * @param {string} key
 * @param {{way: () => Way, close: () => void, signal: AbortSignal}} options `close`: nobody wants it any more
 */
export function comparePanel(key, {way, close, signal}) {
  const plot = h("div", {class: "plot", role: "group", "aria-label": `${key} of the compared runs`});
  const note = h("p", {class: "panel-note", role: "status", hidden: true});
  const out = h("p", {class: "left-out muted"});
  const element = h(
    "section",
    {class: "card compare-panel"},
    h(
      "div",
      {class: "panel-head"},
      h("h3", {class: "panel-title"}, key),
      h("button", {type: "button", class: "quiet", title: "Open in a notebook", onclick: () => showCode(`${key} in a notebook`, lines(way(), key, location.origin))}, icon("code"), h("span", {class: "hidden"}, `Open ${key} in a notebook`)),
      h("button", {type: "button", class: "quiet", title: "Take away", onclick: close}, icon("failed"), h("span", {class: "hidden"}, `Take ${key} away`)),
    ),
    h("div", {class: "plot-box"}, plot, note),
    out,
  );
  let stale = true;
  let seen = false;
  let busy = false;

  async function load() {
    if (busy) return;
    busy = true;
    try {
      while (stale && !signal.aborted && element.isConnected) {
        stale = false;
        const figure = await get(`/compare/figure?${request(way(), key, theme(), element.clientWidth)}`, signal);
        plot.style.height = `${figure.layout.height}px`;
        if (element.isConnected) await draw(plot, figure);
        note.hidden = true;
        element.dataset.drawn = "true";
        const missing = figure.layout.meta.left_out;
        fill(out, missing.length > 0 && `Not drawn: ${missing.map((/** @type {{name: string, why: string}} */ one) => `${one.name} (${one.why})`).join(", ")}.`);
      }
    } catch (error) {
      if (signal.aborted) return;
      stale = true;
      say(note, error instanceof Error ? error.message : String(error));
      note.hidden = false;
    } finally {
      busy = false;
    }
  }

  /** Draw again now if somebody looks, else when somebody does. */
  async function refresh() {
    stale = true;
    if (seen) await load();
  }

  const sight = new IntersectionObserver(
    ([entry]) => {
      seen = entry.isIntersecting;
      if (seen && stale) void load();
    },
    {rootMargin: "200px"},
  );
  sight.observe(element);
  const sizes = new ResizeObserver(() => void fit(plot));
  sizes.observe(plot);
  window.addEventListener("foreshock:theme", () => void refresh(), {signal});

  function end() {
    sight.disconnect();
    sizes.disconnect();
    void forget(plot);
  }
  signal.addEventListener("abort", end);
  return {key, element, refresh, end};
}
