// @ts-check
// A range of steps on the verdict strip: drawn with a pointer, or moved with the keys of its two ends. What it covers is what all panels show.

import {h} from "./dom.js";
import {integer} from "./format.js";

/** @typedef {import("./look.js").Look} Look */

const FAR = 5; // pixels a pointer moves before it draws a range: less is a press
const FINE = 100; // of the whole is a press of an arrow key

export class Brush {
  /** @param {Look} look @param {HTMLElement} rows in whose cells a pointer draws */
  constructor(look, rows) {
    this.look = look;
    this.rows = rows;
    this.first = 0;
    this.last = 0;
    this.window = h("div", {class: "brush-window", hidden: true});
    this.cursor = h("div", {class: "brush-cursor", hidden: true});
    this.ends = /** @type {const} */ (["first", "last"]).map((end) =>
      h("div", {
        class: `brush-end brush-${end}`,
        role: "slider",
        tabindex: 0,
        "aria-label": end === "first" ? "First step shown" : "Last step shown",
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event, end),
        onpointerdown: (/** @type {PointerEvent} */ event) => this.#drag(event, end),
      }),
    );
    this.element = h("div", {class: "brush"}, this.window, this.cursor, this.ends);
    rows.addEventListener("pointerdown", (event) => this.#draw(event));
    look.onChange.add(() => this.show());
    look.onPoint.add(() => this.#point());
    this.show();
  }

  /** The steps of the strip. @param {number} first @param {number} last */
  span(first, last) {
    this.first = first;
    this.last = last;
    this.show();
  }

  /** What is covered: the ends of the run where nothing is chosen. */
  #range() {
    const {first, last} = this.look.choice;
    const keep = (/** @type {number} */ step) => Math.min(Math.max(step, this.first), this.last);
    return [keep(first ?? this.first), keep(last ?? this.last)];
  }

  show() {
    const [low, high] = this.#range();
    const {first, last} = this.look.choice;
    this.window.hidden = first === null && last === null;
    const places = [this.#share(low), this.#share(high + 1)];
    this.window.style.left = `${100 * places[0]}%`;
    this.window.style.right = `${100 * (1 - places[1])}%`;
    this.ends.forEach((end, i) => {
      end.style.left = `${100 * places[i]}%`;
      end.setAttribute("aria-valuemin", String(i === 0 ? this.first : low));
      end.setAttribute("aria-valuemax", String(i === 0 ? high : this.last));
      end.setAttribute("aria-valuenow", String(i === 0 ? low : high));
      end.setAttribute("aria-valuetext", `step ${integer(i === 0 ? low : high)}`);
    });
  }

  #point() {
    const {step} = this.look;
    this.cursor.hidden = step === null || step < this.first || step > this.last;
    if (step !== null) this.cursor.style.left = `${100 * this.#share(step + 0.5)}%`;
  }

  /** @param {number} step */
  #share(step) {
    return (step - this.first) / Math.max(1, this.last + 1 - this.first);
  }

  /** The step under a pointer. @param {number} x of the window */
  #step(x) {
    const box = this.element.getBoundingClientRect();
    const share = Math.min(Math.max((x - box.left) / Math.max(1, box.width), 0), 1);
    return Math.min(this.last, Math.floor(this.first + share * (this.last + 1 - this.first)));
  }

  /** An end of the run is no bound: what is recorded next is shown too. @param {number} low @param {number} high */
  #choose(low, high) {
    this.look.choose({first: low <= this.first ? null : low, last: high >= this.last ? null : high});
  }

  /** @param {KeyboardEvent} event @param {"first" | "last"} end */
  #key(event, end) {
    const [low, high] = this.#range();
    const stride = Math.max(1, Math.round((this.last - this.first) / FINE)) * (event.shiftKey ? 10 : 1);
    const here = end === "first" ? low : high;
    /** @type {Record<string, number>} */
    const to = {ArrowLeft: here - stride, ArrowDown: here - stride, ArrowRight: here + stride, ArrowUp: here + stride, PageDown: here - 10 * stride, PageUp: here + 10 * stride, Home: this.first, End: this.last};
    if (event.key === "Escape") this.look.choose({first: null, last: null});
    else if (event.key in to && end === "first") this.#choose(Math.max(this.first, Math.min(to[event.key], high)), high);
    else if (event.key in to) this.#choose(low, Math.min(this.last, Math.max(to[event.key], low)));
    else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event @param {"first" | "last"} end */
  #drag(event, end) {
    if (event.button !== 0) return;
    event.stopPropagation();
    const [low, high] = this.#range();
    this.#follow(event, (x) => (end === "first" ? [Math.min(this.#step(x), high), high] : [low, Math.max(this.#step(x), low)]), 0);
  }

  /** @param {PointerEvent} event */
  #draw(event) {
    const inside = event.target instanceof Element && event.target.closest(".strip-cells");
    if (!inside || event.button !== 0) return;
    const begun = this.#step(event.clientX);
    this.#follow(event, (x) => [Math.min(begun, this.#step(x)), Math.max(begun, this.#step(x))], FAR);
  }

  /** Draw while the pointer is down; choose when it is up, so that panels are asked for once. @param {PointerEvent} event @param {(x: number) => number[]} range @param {number} far */
  #follow(event, range, far) {
    const stop = new AbortController();
    let moved = far === 0;
    let now = this.#range();
    window.addEventListener(
      "pointermove",
      (move) => {
        moved ||= Math.abs(move.clientX - event.clientX) >= far;
        if (!moved) return;
        move.preventDefault();
        now = range(move.clientX);
        this.window.hidden = false;
        this.window.style.left = `${100 * this.#share(now[0])}%`;
        this.window.style.right = `${100 * (1 - this.#share(now[1] + 1))}%`;
      },
      {signal: stop.signal},
    );
    const end = (/** @type {Event} */ up) => {
      stop.abort();
      if (up.type === "pointercancel") {
        this.show();
        return;
      }
      if (!moved) return;
      window.addEventListener("click", (click) => click.stopPropagation(), {capture: true, once: true, signal: AbortSignal.timeout(50)});
      this.#choose(now[0], now[1]);
      this.show();
    };
    window.addEventListener("pointerup", end, {signal: stop.signal});
    window.addEventListener("pointercancel", end, {signal: stop.signal});
  }
}
