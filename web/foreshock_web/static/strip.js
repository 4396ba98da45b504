// @ts-check
// The verdict strip: one row per family, one cell per range of steps, equal neighbours joined so that a reader hears sentences.

import {Brush} from "./brush.js";
import {each, fill, h, say} from "./dom.js";
import {heading, integer, steps} from "./format.js";
import {icon, word} from "./icons.js";

/** @typedef {import("./types.js").VerdictStrip} VerdictStrip */
/** @typedef {import("./types.js").FamilyRow} FamilyRow */
/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {{state: Cell, cells: number, first: number, last: number}} Stretch consecutive cells of one state, and the steps they cover */

/**
 * Cells joined where the state stays the same. A resolved spike stays a stretch of its own.
 * @param {Cell[]} cells
 * @param {[number, number][]} bins
 * @returns {Stretch[]}
 */
export function stretches(cells, bins) {
  /** @type {Stretch[]} */
  const found = [];
  cells.forEach((state, i) => {
    const [first, last] = bins[i] ?? [0, 0];
    const before = found[found.length - 1];
    if (before && before.state === state && state !== "resolved-spike") {
      before.cells += 1;
      before.last = last;
    } else {
      found.push({state, cells: 1, first, last});
    }
  });
  return found;
}

const LEGEND = /** @type {Cell[]} */ (["fine", "watch", "collapsing", "resolved-spike", "none"]);

export class Strip {
  /**
   * @param {(family: string) => void} onChoose called when somebody picks a row or a stretch that is not fine
   * @param {import("./look.js").Look} look what a range that is drawn here is told
   */
  constructor(onChoose, look) {
    this.choose = onChoose;
    this.rows = h("div", {role: "rowgroup"});
    this.brush = new Brush(look, this.rows);
    this.axis = h("div", {class: "strip-axis", "aria-hidden": "true"});
    this.element = h(
      "div",
      {class: "strip"},
      h("div", {class: "strip-body"}, h("div", {role: "table", "aria-label": "Verdict by family over the steps of the run"}, this.rows), this.brush.element),
      this.axis,
      h(
        "ul",
        {class: "strip-legend", "aria-label": "Legend"},
        LEGEND.map((state) => h("li", null, h("span", {class: `cell cell-${state}`, "aria-hidden": "true"}), state === "none" ? "No data" : word(state))),
      ),
    );
  }

  /** @param {VerdictStrip} strip */
  show({bins, families}) {
    each(
      this.rows,
      families,
      (row) => row.family,
      (row) => this.#row(row),
      (element, row) => this.#fillRow(element, row, bins),
    );
    if (bins.length > 0) {
      const first = bins[0][0];
      const last = bins[bins.length - 1][1];
      this.brush.span(first, last);
      fill(this.axis, h("span", null, integer(first)), h("span", null, integer(Math.round((first + last) / 2))), h("span", null, `step ${integer(last)}`));
    }
  }

  /** @param {FamilyRow} row */
  #row(row) {
    return h(
      "div",
      {role: "row", class: "strip-row"},
      h("div", {role: "rowheader", class: "strip-family"}, h("button", {type: "button", class: "plain", onclick: () => this.choose(row.family)}, heading(row.family))),
      h("div", {class: "strip-cells", role: "presentation"}),
      h("div", {role: "cell", class: "strip-state"}),
    );
  }

  /** @param {Element} element @param {FamilyRow} row @param {[number, number][]} bins */
  #fillRow(element, row, bins) {
    const state = `${row.state}`;
    if (element.getAttribute("data-state") !== state) {
      element.setAttribute("data-state", state);
      const shown = element.querySelector(".strip-state");
      if (shown) fill(shown, icon(state), h("span", null, word(state)));
    }
    const cells = element.querySelector(".strip-cells");
    if (!cells) return;
    each(
      cells,
      stretches(row.cells, bins),
      (stretch) => `${stretch.first}-${stretch.state}`,
      (stretch) => this.#stretch(row.family, stretch),
      (cell, stretch) => {
        const html = /** @type {HTMLElement} */ (cell);
        html.style.flexGrow = String(stretch.cells);
        const sentence = `${word(stretch.state === "none" ? "none" : stretch.state)}, ${steps(stretch.first, stretch.last)}`;
        html.title = `${heading(row.family)}: ${sentence}`;
        const words = cell.querySelector(".hidden");
        if (words) say(words, sentence);
      },
    );
  }

  /** @param {string} family @param {Stretch} stretch @returns {HTMLElement} */
  #stretch(family, stretch) {
    const words = h("span", {class: "hidden"});
    const loud = stretch.state === "watch" || stretch.state === "collapsing" || stretch.state === "resolved-spike";
    return h(
      "div",
      {role: "cell", class: `cell cell-${stretch.state}`},
      loud ? h("button", {type: "button", class: "cell-button", onclick: () => this.choose(family)}, words) : words,
    );
  }
}
