// @ts-check
// A long table of which only the rows in sight are elements: ten thousand rows cost as much as thirty.

const AROUND = 12; // rows beyond each edge: a flick is drawn before it arrives, and Tab finds the next one
const REST = 120; // milliseconds without a change, after which the rows' order in the document is set right

/**
 * Which rows to draw: from the first up to, not including, the last.
 * @param {number} above pixels of the rows above the top edge of the window
 * @param {number} height of the window
 * @param {number} row height of one
 * @param {number} count
 * @returns {[number, number]}
 */
export function slice(above, height, row, count) {
  const first = Math.max(0, Math.floor(above / row) - AROUND);
  const last = Math.min(count, Math.ceil((above + height) / row) + AROUND);
  return [Math.min(first, last), last];
}

/**
 * Rows of one height, each where its number says, in a body that is as high as all of them.
 * @template T
 * @param {HTMLElement} body
 * @param {{
 *   key: (item: T) => string,
 *   make: () => HTMLElement,
 *   update: (element: HTMLElement, item: T, place: number) => void,
 *   onShown: (first: number, last: number) => void,
 *   signal: AbortSignal,
 * }} options `onShown` is told which rows are drawn; `--row` of the body says how high one is
 * @returns {(items: T[]) => void} show these
 */
export function windowed(body, {key, make, update, onShown, signal}) {
  /** @type {T[]} */
  let items = [];
  /** @type {Map<string, HTMLElement>} */
  const drawn = new Map();
  /** @type {HTMLElement[]} of rows that have just left */
  const spare = [];
  /** @type {WeakMap<HTMLElement, number>} which place each has */
  const at = new WeakMap();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let resting;
  let waiting = false;
  let row = 0;

  function measure() {
    const before = row;
    row = parseFloat(getComputedStyle(body).getPropertyValue("--row")) || 60;
    body.style.height = `${items.length * row}px`;
    if (row !== before) for (const element of drawn.values()) at.delete(element);
  }

  function draw() {
    waiting = false;
    if (signal.aborted) return;
    const [first, last] = slice(-body.getBoundingClientRect().top, window.innerHeight, row, items.length);
    // The row with the focus stays, wherever it is: who tabs through the table must not lose the place.
    const focused = document.activeElement?.closest("[data-key]");
    const held = focused && body.contains(focused) ? (focused.getAttribute("data-key") ?? "") : null;
    const kept = held === null || items.slice(first, last).some((item) => key(item) === held) ? -1 : items.findIndex((item) => key(item) === held);
    const places = kept < 0 ? [] : [kept];
    for (let place = first; place < last; place += 1) places.push(place);
    const names = new Set(places.map((place) => key(items[place])));
    for (const [name, element] of drawn) {
      if (names.has(name)) continue;
      drawn.delete(name);
      spare.push(element);
    }
    for (const place of places) {
      const name = key(items[place]);
      let element = drawn.get(name);
      if (!element) {
        element = spare.pop() ?? body.appendChild(make());
        element.setAttribute("data-key", name);
        drawn.set(name, element);
      }
      put(element, place);
      update(element, items[place], place);
    }
    for (const element of spare.splice(0)) element.remove();
    clearTimeout(resting);
    resting = setTimeout(sort, REST);
    onShown(first, last);
  }

  /** A row that leaves at one edge comes in at the other without moving in the document, which would be as dear as to make it. @param {HTMLElement} element @param {number} place */
  function put(element, place) {
    if (at.get(element) === place) return;
    at.set(element, place);
    element.style.transform = `translateY(${place * row}px)`;
  }

  /** The order in which Tab and a screen reader come to the rows, as soon as the list rests. */
  function sort() {
    if (signal.aborted) return;
    /** @type {ChildNode | null} */
    let before = null;
    for (const element of [...drawn.values()].sort((one, other) => (at.get(other) ?? 0) - (at.get(one) ?? 0))) {
      // What is moved loses the focus: the row that has it stays, and the others come to lie around it.
      if (element.nextSibling !== before && !element.contains(document.activeElement)) body.insertBefore(element, before);
      before = element;
    }
  }

  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  document.addEventListener("scroll", soon, {passive: true, signal});
  window.addEventListener(
    "resize",
    () => {
      measure();
      soon();
    },
    {signal},
  );
  return (shown) => {
    items = shown;
    measure();
    draw();
    sort();
  };
}
