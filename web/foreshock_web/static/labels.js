// @ts-check
// Words on a chart that lie on one another -> moved along their line, or left out, the least urgent first. `untangled` is pure.

/** @typedef {{left: number, top: number, right: number, bottom: number, rank: number, moves: number[]}} Label moves: how far it may go, in the order in which they are tried */

const NEAR = 1; // pixels between two words that can still be told apart
const RANKS = ["critical", "warning", "fired", "falling", "attempt", "baseline", "clear"];

/**
 * For each label how far it moves to the right; null: there is no room for it, and its line speaks alone.
 * @param {Label[]} labels
 * @returns {(number | null)[]}
 */
export function untangled(labels) {
  /** @type {(number | null)[]} */
  const found = labels.map(() => null);
  /** @type {Label[]} */
  const placed = [];
  const order = labels.map((_, i) => i).sort((a, b) => labels[a].rank - labels[b].rank);
  for (const i of order) {
    const one = labels[i];
    const dx = [0, ...one.moves].find((move) => placed.every((other) => !meet(one, move, other)));
    if (dx === undefined) continue;
    found[i] = dx;
    placed.push({...one, left: one.left + dx, right: one.right + dx});
  }
  return found;
}

/** @param {Label} one @param {number} dx @param {Label} other */
const meet = (one, dx, other) => one.left + dx < other.right + NEAR && other.left < one.right + dx + NEAR && one.top < other.bottom + NEAR && other.top < one.bottom + NEAR;

/**
 * Make room between the words of a drawn chart. Words of levels may go to the other end of their line, those of moments to its other side.
 * @param {HTMLElement} chart
 */
export function makeRoom(chart) {
  const {layout, _fullLayout: full} = /** @type {any} */ (chart);
  if (!layout || !full?._size) return;
  const box = chart.getBoundingClientRect();
  const start = box.left + full._size.l + 2;
  const words = [...chart.querySelectorAll(".shape-group[data-index] .shape-label, .infolayer .annotation[data-index]")];
  /** @type {SVGElement[]} */
  const elements = [];
  /** @type {Label[]} */
  const labels = [];
  for (const element of /** @type {SVGElement[]} */ (words)) {
    const moment = element.classList.contains("annotation");
    const index = Number((moment ? element : element.parentElement)?.getAttribute("data-index"));
    const name = String((moment ? layout.annotations : layout.shapes)?.[index]?.name ?? "").split(" ")[0];
    if (!RANKS.includes(name) || !element.textContent) continue;
    element.style.removeProperty("transform");
    element.style.removeProperty("visibility");
    const {left, top, right, bottom} = (element.querySelector("text") ?? element).getBoundingClientRect();
    elements.push(element);
    labels.push({left, top, right, bottom, rank: element.textContent.startsWith(RANKS[0]) ? 0 : RANKS.indexOf(name), moves: moment ? [left - right - 4] : [start - left]});
  }
  untangled(labels).forEach((dx, i) => {
    if (dx === null) elements[i].style.visibility = "hidden";
    else if (dx !== 0) elements[i].style.transform = `translateX(${dx}px)`;
  });
}
