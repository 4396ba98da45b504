// @ts-check
// Every series of a run by name: whatever was recorded can be drawn.

import {get, path} from "./api.js";
import {each, h, say} from "./dom.js";
import {integer, plural, quantity} from "./format.js";
import {panel} from "./panel.js";

/** @typedef {import("./types.js").SeriesInfo} SeriesInfo */
/** @typedef {import("./panel.js").FigurePanel} FigurePanel */

const SHOWN = 200; // more is found by searching

export class SeriesList {
  /** @param {string} run @param {AbortSignal} signal @param {import("./look.js").Look} look */
  constructor(run, signal, look) {
    this.run = run;
    this.look = look;
    this.signal = signal;
    /** @type {SeriesInfo[]} */
    this.series = [];
    this.search = h("input", {type: "search", placeholder: "Search series", "aria-label": "Search series", oninput: () => this.#draw()});
    this.count = h("span", {class: "muted", role: "status"});
    this.list = h("ul", {class: "series-list"});
    this.panels = h("div", {class: "panels"});
    this.details = h(
      "details",
      {ontoggle: () => this.details.open && void this.load()},
      h("summary", {class: "family-head"}, h("h3", null, "Every series"), h("span", {class: "muted"}, "drawn as recorded")),
      h("div", {class: "series-tools"}, this.search, this.count),
      this.list,
      this.panels,
    );
    this.element = h("section", {class: "family"}, this.details);
  }

  async load() {
    if (this.series.length > 0) return;
    const answer = await get(path`/runs/${this.run}/series`, this.signal);
    this.series = answer.series;
    this.#draw();
  }

  #draw() {
    const wanted = this.search.value.trim().toLowerCase().split(/\s+/);
    const found = this.series.filter((one) => wanted.every((part) => `${one.key} ${one.family}`.toLowerCase().includes(part)));
    say(this.count, found.length > SHOWN ? `the first ${SHOWN} of ${integer(found.length)}` : plural(found.length, "series", "series"));
    each(
      this.list,
      found.slice(0, SHOWN),
      (one) => one.key,
      (one) =>
        h(
          "li",
          null,
          h(
            "button",
            {type: "button", class: "series-row", "aria-pressed": "false", onclick: (/** @type {Event} */ event) => this.#toggle(one, /** @type {HTMLElement} */ (event.currentTarget))},
            h("span", {class: "series-key"}, one.key),
            h("span", {class: "muted"}, one.axis ? `${one.family}, ${plural(one.axis.size, one.axis.name)}` : one.family),
            h("span", {class: "num"}, quantity(one.last, one.unit)),
            one.nonfinite > 0 && h("span", {class: "chip chip-collapsing"}, `${integer(one.nonfinite)} not a number`),
          ),
        ),
      () => {},
    );
  }

  /** @param {SeriesInfo} one @param {HTMLElement} button */
  #toggle(one, button) {
    const shown = [...this.panels.children].find((child) => child.getAttribute("data-key") === one.key);
    button.setAttribute("aria-pressed", String(!shown));
    if (shown) {
      shown.remove();
      return;
    }
    const about = `${integer(one.points)} ${one.axis ? "values" : "readings"}, steps ${integer(one.first_step)} to ${integer(one.last_step)}`;
    const element = panel(this.run, {name: "series", title: one.key, about, height: 300, wide: false, last: one.last === null ? null : {key: one.key, value: one.last, unit: one.unit}}, one.key, this.look);
    element.setAttribute("data-key", one.key);
    this.panels.prepend(element);
  }

  async refresh() {
    await Promise.all([...this.panels.querySelectorAll("figure-panel")].map((one) => /** @type {FigurePanel} */ (one).refresh()));
  }
}
