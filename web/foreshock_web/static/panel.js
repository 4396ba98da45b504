// @ts-check
// <figure-panel>: one figure, fetched when it comes into sight, drawn again when its run grew and it is in sight.

import {ApiError, get, path, query} from "./api.js";
import {notebookLines, showCode} from "./code.js";
import {h, say} from "./dom.js";
import {integer, quantity} from "./format.js";
import {icon} from "./icons.js";
import {grown} from "./growth.js";
import {makeRoom} from "./labels.js";
import {Look, arranged, mustAsk, placeOf, stepAt} from "./look.js";
import {panelMenu} from "./panel-menu.js";
import {draw, fit, forget, scaleOf} from "./plot.js";
import {nearest, zoomed} from "./pointing.js";
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
    /** @type {{first: number | null, last: number | null}} the steps for which it was asked */
    this.range = {first: null, last: null};
    this.look = new Look();
    this.changed = () => void this.lookChanged();
    this.pointed = () => this.point();
    const id = `panel-${(count += 1)}`;
    this.heading = h("h4", {id, class: "panel-title"});
    this.last = h("span", {class: "panel-last"});
    this.about = h("p", {class: "panel-about"});
    this.note = h("p", {class: "panel-note", role: "status", hidden: true});
    this.plot = h("div", {
      class: "plot",
      role: "group",
      tabindex: 0,
      onpointermove: (/** @type {PointerEvent} */ event) => this.#over(event),
      onpointerleave: () => this.look.point(null),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      onblur: () => this.look.point(null),
    });
    this.cursor = h("div", {class: "plot-cursor", hidden: true});
    this.box = h("div", {class: "plot-box"}, this.plot, this.cursor, this.note);
    this.explain = h("a", {class: "quiet explain", title: "What this means", hidden: true}, icon("explain"), h("span", {class: "hidden"}, "What this means"));
    this.menu = panelMenu(this);
  }

  connectedCallback() {
    if (!this.heading.isConnected) {
      this.append(h("div", {class: "panel-head"}, this.heading, this.last, this.explain, this.menu), this.about, this.box);
    }
    sight.observe(this);
    sizes.observe(this.plot);
    this.onTheme = () => this.refresh();
    window.addEventListener("foreshock:theme", this.onTheme);
    this.look.onChange.add(this.changed);
    this.look.onPoint.add(this.pointed);
  }

  disconnectedCallback() {
    sight.unobserve(this);
    sizes.unobserve(this.plot);
    this.look.onChange.delete(this.changed);
    this.look.onPoint.delete(this.pointed);
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
    this.#sayLast();
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
        if (mustAsk(this.figure, this.range, this.look.choice)) {
          this.figure = null;
          this.range = {first: this.look.choice.first, last: this.look.choice.last};
        }
        const since = this.figure?.layout.meta.mark ?? "0";
        this.figure = grown(this.figure, await get(path`/runs/${this.run}/figures/${this.info.name}` + query({theme: theme(), key: this.key, x: this.look.choice.x, ...this.range, since})));
        await this.#draw();
      }
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

  /** As the look has it, from what there is. */
  async #draw() {
    if (!this.figure || !this.isConnected) return;
    const {figure, hidden} = arranged(this.figure, this.look.choice);
    await draw(this.plot, figure);
    if (this.dataset.drawn !== "true") {
      performance.mark("panel");
      const chart = /** @type {any} */ (this.plot);
      chart.on("plotly_relayout", (/** @type {Record<string, any>} */ event) => this.#zoomed(event));
      chart.on("plotly_afterplot", () => makeRoom(this.plot));
      makeRoom(this.plot);
    }
    this.dataset.drawn = "true";
    this.note.hidden = true;
    const about = this.info?.about ?? "";
    say(this.about, hidden > 0 ? `${integer(hidden)} readings at or below zero have no place on this scale. ${about}` : about);
    this.point();
  }

  /** Another range, axis, scale or smoothing: drawn from what there is where that is enough. */
  async lookChanged() {
    if (mustAsk(this.figure, this.range, this.look.choice)) await this.refresh();
    else if (this.inSight && !this.busy) await this.#draw();
    else this.stale = true;
  }

  /** Somebody zoomed here: all panels follow. @param {Record<string, any>} event */
  #zoomed(event) {
    const range = zoomed(event, this.figure?.layout.meta);
    if (range) this.look.choose(range);
  }

  /** @param {PointerEvent} event */
  #over(event) {
    const scale = scaleOf(this.plot);
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    const inside = scale && x >= scale.left && x <= scale.left + scale.width;
    this.look.point(inside ? Math.round(stepAt(this.figure?.layout.meta.ruler ?? null, scale.place(x))) : null);
  }

  /** The cursor walks from reading to reading of the leading line. @param {KeyboardEvent} event */
  #key(event) {
    const line = this.#line();
    if (!line || event.target !== this.plot) return;
    const ruler = this.figure?.layout.meta.ruler ?? null;
    const last = line.x.length - 1;
    const at = this.look.step === null ? last : nearest(line.x, placeOf(ruler, this.look.step));
    const far = event.shiftKey ? 10 : 1;
    /** @type {Record<string, number>} */
    const to = {ArrowLeft: at - far, ArrowRight: at + far, Home: 0, End: last};
    if (event.key === "Escape") this.look.point(null);
    else if (event.key in to) this.look.point(Math.round(stepAt(ruler, line.x[Math.min(Math.max(to[event.key], 0), last)])));
    else return;
    event.preventDefault();
  }

  /** The line whose value stands beside the title, else the first. */
  #line() {
    const lines = (this.figure?.data ?? []).filter((trace) => trace.type === "scatter" && typeof trace.meta === "string" && trace.meta !== "course" && trace.x?.length > 0);
    return lines.find((trace) => trace.meta === this.info?.last?.key) ?? lines[0];
  }

  /** Show the step that somebody points at, in whichever panel. */
  point() {
    const {step} = this.look;
    const scale = step === null || !this.inSight || this.figure === null ? null : scaleOf(this.plot);
    const ruler = this.figure?.layout.meta.ruler ?? null;
    const x = step === null || scale === null ? Number.NaN : scale.pixel(placeOf(ruler, step));
    const there = scale !== null && x >= scale.left && x <= scale.left + scale.width;
    this.cursor.hidden = !there;
    if (there) this.cursor.style.transform = `translateX(${x}px)`;
    const line = there ? this.#line() : undefined;
    if (!line || step === null) {
      this.#sayLast();
      return;
    }
    const value = line.y[nearest(line.x, placeOf(ruler, step))];
    say(this.last, `${quantity(value, this.info?.last?.unit ?? "")} at ${integer(step)}`);
  }

  #sayLast() {
    const last = this.info?.last;
    if (this.cursor.hidden) say(this.last, last ? quantity(last.value, last.unit) : "");
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
 * @param {Look} [look] shared with other panels; without it the panel has its own
 */
export function panel(run, info, key, look) {
  const element = /** @type {FigurePanel} */ (document.createElement("figure-panel"));
  if (look) element.look = look;
  element.show(run, info, key);
  return element;
}
