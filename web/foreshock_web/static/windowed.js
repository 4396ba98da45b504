// @ts-check
// A long table of which only the rows in sight are elements: ten thousand rows cost as much as thirty.

const AROUND = 12; // rows beyond each edge: a flick is drawn before it arrives, and Tab finds the next one
const SPARE = 60; // elements kept for the rows that come

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
  let drawn = new Map();
  /** @type {HTMLElement[]} */
  const spare = [];
  let waiting = false;
  let row = 0;

  function measure() {
    row = parseFloat(getComputedStyle(body).getPropertyValue("--row")) || 60;
    body.style.height = `${items.length * row}px`;
  }

  function draw() {
    waiting = false;
    if (signal.aborted) return;
    const [first, last] = slice(-body.getBoundingClientRect().top, window.innerHeight, row, items.length);
    /** @type {Map<string, HTMLElement>} */
    const next = new Map();
    /** @type {[T, number][]} */
    const wanted = [];
    const held = drawn.size > 0 ? document.activeElement?.closest("[data-key]")?.getAttribute("data-key") : null;
    items.forEach((item, place) => {
      // The row with the focus stays, wherever it is: who tabs through the table must not lose the place.
      if ((place >= first && place < last) || (held && key(item) === held && drawn.has(held))) wanted.push([item, place]);
    });
    const names = new Set(wanted.map(([item]) => key(item)));
    for (const [name, element] of drawn) if (!names.has(name)) spare.push(element);
    /** @type {ChildNode | null} */
    let before = null;
    for (const [item, place] of wanted.reverse()) {
      const name = key(item);
      const element = drawn.get(name) ?? spare.pop() ?? make();
      element.setAttribute("data-key", name);
      element.style.transform = `translateY(${place * row}px)`;
      update(element, item, place);
      if (element.nextSibling !== before || element.parentNode !== body) body.insertBefore(element, before);
      before = element;
      next.set(name, element);
    }
    for (const element of spare) element.remove();
    spare.length = Math.min(spare.length, SPARE);
    drawn = next;
    onShown(first, last);
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
  };
}
