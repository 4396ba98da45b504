// @ts-check
// What the list of runs shows <-> the address bar, and the request that asks for it. Pure.

/**
 * @typedef {object} View
 * @property {string} q words to search for
 * @property {string} project
 * @property {string} state
 * @property {string} verdict
 * @property {string[]} tags all of them
 * @property {string} owner
 * @property {string} started "1d", "7d", …: begun within so long; "between": see from and until
 * @property {string} from a day, as 2026-11-01
 * @property {string} until a day, included
 * @property {"" | "archived" | "trash"} shelf
 * @property {string} sort as the API has it
 */

export const SORTS = ["updated", "created", "name", "step", "verdict", "alerts", "owner"];
export const USUAL = "-updated";
const DAY = 86_400;
const ONE = /** @type {const} */ (["q", "project", "state", "verdict", "owner", "started", "from", "until"]);

/** @param {string} search the address's query @returns {View} */
export function read(search) {
  const given = new URLSearchParams(search);
  const of = (/** @type {string} */ name) => given.get(name) ?? "";
  const shelf = of("shelf");
  const sort = of("sort");
  const texts = /** @type {Record<(typeof ONE)[number], string>} */ (Object.fromEntries(ONE.map((name) => [name, of(name)])));
  return {
    ...texts,
    tags: given.getAll("tag").filter(Boolean),
    shelf: shelf === "archived" || shelf === "trash" ? shelf : "",
    sort: SORTS.includes(sort.replace(/^-/, "")) ? sort : USUAL,
  };
}

/** The address's query for a view, empty for the usual one. @param {View} view */
export function write(view) {
  const given = new URLSearchParams();
  for (const name of ONE) if (view[name]) given.append(name, view[name]);
  for (const tag of view.tags) given.append("tag", tag);
  if (view.shelf) given.append("shelf", view.shelf);
  if (view.sort !== USUAL) given.append("sort", view.sort);
  const text = given.toString();
  return text && `?${text}`;
}

/** True when something is left out of the list. @param {View} view */
export const narrowed = (view) => ONE.some((name) => view[name] !== "") || view.tags.length > 0;

/**
 * What to ask the API for.
 * @param {View} view
 * @param {number} now seconds
 * @returns {URLSearchParams}
 */
export function request(view, now) {
  const asked = new URLSearchParams();
  for (const name of /** @type {const} */ (["q", "project", "state", "verdict", "owner"])) if (view[name]) asked.append(name, view[name]);
  for (const tag of view.tags) asked.append("tag", tag);
  const within = /^([0-9]+)d$/.exec(view.started);
  if (within) asked.append("created_from", String(now - Number(within[1]) * DAY));
  if (view.started === "between") {
    const [from, until] = [begin(view.from), begin(view.until)];
    if (from !== null) asked.append("created_from", String(from));
    if (until !== null) asked.append("created_until", String(until + DAY));
  }
  if (view.shelf === "archived") asked.append("archived", "yes");
  if (view.shelf === "trash") asked.append("trashed", "true");
  asked.append("sort", view.sort);
  return asked;
}

/** Where a day begins on the reader's clock; null: it is none. @param {string} day */
function begin(day) {
  const parts = /^(\d{4})-(\d{2})-(\d{2})$/.exec(day);
  if (!parts) return null;
  return new Date(Number(parts[1]), Number(parts[2]) - 1, Number(parts[3])).getTime() / 1000;
}

/** A press on a column's head: the other direction, or this column from its worst or latest. @param {string} sort @param {string} column */
export function turned(sort, column) {
  if (sort === `-${column}`) return column;
  if (sort === column) return `-${column}`;
  return column === "name" || column === "owner" ? column : `-${column}`;
}
