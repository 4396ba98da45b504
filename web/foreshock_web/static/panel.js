// @ts-check
// <figure-panel>: one figure, fetched when it comes into sight, drawn again when its run grew and it is in sight.

import {ApiError, get, path, query} from "./api.js";
import {notebookLines, showCode} from "./code.js";
import {h, say} from "./dom.js";
import {quantity} from "./format.js";
import {icon} from "./icons.js";
import {grown} from "./growth.js";
import {draw, fit, forget} from "./plot.js";
import {theme} from "./theme.js";

/** @typedef {import("./types.js").FigureInfo} FigureInfo */
/** @typedef {Pick<FigureInfo, "name" | "title" | "about" | "height" | "last" | "wide" | "statistics">} PanelInfo */

const sight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) /** @type {FigurePanel} */ (entry.target).seen(entry.isIntersecting);
  },
  {rootMargin: "200px"},
);
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) void fit(/** @type {HTMLElement} */ (entry.target));
});

const AGAIN = 3000; // milliseconds until a figure that did not come is asked for again
let count = 0;

export class FigurePanel extends HTMLElement {
  constructor() {
    super();
    this.inSight = false;
    this.stale = true;
    this.busy = false;
    this.run = "";
    this.key = "";
    /** @type {PanelInfo | null} */
    this.info = null;
    /** @type {import("./plot.js").Figure | null} what is drawn: the server sends what is new of it */
    this.figure = null;
    const id = `panel-${(count += 1)}`;
    this.heading = h("h4", {id, class: "panel-title"});
    this.last = h("span", {class: "panel-last"});
    this.about = h("p", {class: "panel-about"});
    this.note = h("p", {class: "panel-note", role: "status", hidden: true});
    this.plot = h("div", {class: "plot", role: "group"});
    this.box = h("div", {class: "plot-box"}, this.plot, this.note);
    this.explain = h("a", {class: "quiet explain", title: "What this means", hidden: true}, icon("explain"), h("span", {class: "hidden"}, "What this means"));
    this.code = h(
      "button",
      {type: "button", class: "quiet", title: "Open in a notebook", onclick: () => this.showCode()},
      icon("code"),
      h("span", {class: "hidden"}, "Open in a notebook"),
    );
  }

  connectedCallback() {
    if (!this.heading.isConnected) {
      this.append(h("div", {class: "panel-head"}, this.heading, this.last, this.explain, this.code), this.about, this.box);
    }
    sight.observe(this);
    sizes.observe(this.plot);
    this.onTheme = () => this.refresh();
    window.addEventListener("foreshock:theme", this.onTheme);
  }

  disconnectedCallback() {
    sight.unobserve(this);
    sizes.unobserve(this.plot);
    if (this.onTheme) window.removeEventListener("foreshock:theme", this.onTheme);
    queueMicrotask(() => {
      if (!this.isConnected) void forget(this.plot); // moved is not removed
    });
  }

  /**
   * What to draw. The height is known before the figure is, so that nothing moves when it comes.
   * @param {string} run
   * @param {PanelInfo} info
   * @param {string} [key] the series, for the figure of any series
   */
  show(run, info, key = "") {
    if (run !== this.run || key !== this.key || info.name !== this.info?.name) this.figure = null;
    this.run = run;
    this.key = key;
    this.info = info;
    this.classList.toggle("wide", info.wide);
    say(this.heading, info.title);
    say(this.about, info.about);
    this.about.title = info.about; // two lines are shown
    say(this.last, info.last ? quantity(info.last.value, info.last.unit) : "");
    const explained = info.statistics?.[0];
    this.explain.hidden = !explained;
    if (explained) this.explain.href = `/reference/${encodeURIComponent(explained)}`;
    this.plot.style.height = `${info.height}px`;
    this.plot.setAttribute("aria-label", `${info.title}${info.last ? `, last ${quantity(info.last.value, info.last.unit)}` : ""}. ${info.about}`);
  }

  /** @param {boolean} inSight */
  seen(inSight) {
    this.inSight = inSight;
    if (inSight && this.stale) void this.#load();
  }

  /** The run grew: draw again now if somebody looks, else when somebody does. @returns {Promise<void>} */
  async refresh() {
    this.stale = true;
    if (this.inSight) await this.#load();
  }

  async #load() {
    if (this.busy || !this.info) return;
    this.busy = true;
    try {
      while (this.stale && this.isConnected) {
        this.stale = false;
        const since = this.figure?.layout.meta.mark ?? "0";
        this.figure = grown(this.figure, await get(path`/runs/${this.run}/figures/${this.info.name}` + query({theme: theme(), key: this.key, since})));
        if (this.isConnected) await draw(this.plot, this.figure);
      }
      this.note.hidden = true;
      this.dataset.drawn = "true";
    } catch (error) {
      this.stale = true;
      if (this.dataset.drawn !== "true") {
        this.note.textContent = error instanceof Error ? error.message : String(error);
        this.note.hidden = false;
      }
      const hopeless = error instanceof ApiError && error.status >= 400 && error.status < 500;
      if (hopeless) this.figure = null; // a mark of another version, perhaps: the next look asks for all
      else setTimeout(() => this.inSight && this.isConnected && void this.#load(), AGAIN);
    } finally {
      this.busy = false;
    }
  }

  showCode() {
    if (this.info) showCode(`${this.info.title} in a notebook`, notebookLines(this.run, this.info.name, this.key));
  }
}

customElements.define("figure-panel", FigurePanel);

/**
 * @param {string} run
 * @param {PanelInfo} info
 * @param {string} [key]
 */
export function panel(run, info, key) {
  const element = /** @type {FigurePanel} */ (document.createElement("figure-panel"));
  element.show(run, info, key);
  return element;
}
