// @ts-check
// The controls of a look: over what, on which scale, how smooth, and which steps.

import {fill, h, say} from "./dom.js";
import {heading, steps} from "./format.js";

/** @typedef {import("./look.js").Look} Look */

const X = /** @type {const} */ ({step: "Steps", time: "Time", tokens: "Tokens"});
const SMOOTH = /** @type {const} */ ({raw: "Raw alone", medians: "Medians", wide: "Wide medians"});

/** @param {string} label @param {Record<string, string>} words @param {(value: any) => void} onPick */
function choice(label, words, onPick) {
  const select = h("select", {"aria-label": label, onchange: () => onPick(select.value)}, Object.entries(words).map(([value, text]) => h("option", {value}, text)));
  return {select, element: h("label", {class: "look-choice"}, h("span", null, label), select)};
}

export class LookBar {
  /** @param {Look} look */
  constructor(look) {
    this.look = look;
    this.ends = [0, 0];
    this.x = choice("Over", {step: X.step, time: X.time}, (x) => look.choose({x}));
    this.smooth = choice("Smoothing", SMOOTH, (smooth) => look.choose({smooth}));
    this.log = h("input", {type: "checkbox", onchange: () => look.choose({log: this.log.checked})});
    this.range = h("span", {class: "num", role: "status"});
    this.whole = h("button", {type: "button", onclick: () => look.choose({first: null, last: null})}, "Whole run");
    this.element = h(
      "section",
      {class: "look-bar", "aria-label": "How the panels are drawn"},
      h("span", {class: "look-range"}, this.range, this.whole),
      this.x.element,
      h("label", {class: "look-check"}, this.log, "Logarithmic"),
      this.smooth.element,
    );
    look.onChange.add(() => this.show());
    this.show();
  }

  /** What the axis of this run can count. @param {string[]} axes */
  offer(axes) {
    const words = Object.fromEntries(Object.entries(X).filter(([name]) => axes.includes(name)));
    if (this.x.select.options.length === Object.keys(words).length) return;
    fill(this.x.select, Object.entries(words).map(([value, text]) => h("option", {value}, text)));
    this.show();
  }

  /** The steps of the run. @param {number} first @param {number} last */
  span(first, last) {
    this.ends = [first, last];
    this.show();
  }

  show() {
    const {x, log, smooth, first, last} = this.look.choice;
    this.x.select.value = x;
    this.smooth.select.value = smooth;
    this.log.checked = log;
    const whole = first === null && last === null;
    say(this.range, heading(steps(first ?? this.ends[0], last ?? this.ends[1])));
    this.whole.disabled = whole;
  }
}
