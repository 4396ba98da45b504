// @ts-check
// The list of runs: what lives, what is in trouble, and the statistic that tells most. The address bar holds what is shown.

import {get, query} from "./api.js";
import {fill, h, say} from "./dom.js";
import {integer, plural} from "./format.js";
import {filters} from "./filters.js";
import {calm, follow} from "./live.js";
import {actions} from "./run-actions.js";
import {makeRow, showAge, updateRow} from "./run-row.js";
import {narrowed, read, request, turned, write} from "./runs-query.js";
import {start} from "./start.js";
import {windowed} from "./windowed.js";

export {chip, state} from "./run-row.js";

/** @typedef {import("./types.js").ListedRun} Run */
/** @typedef {import("./runs-query.js").View} View */
/** @typedef {import("./app.js").Context} Context */

const PAGE = 100; // runs of one request
const AHEAD = 150; // rows below the window that are there before they are needed
const LOOK_AGAIN = 30_000; // a hint may be lost, and a run falls silent without one
const TYPED = 200; // milliseconds after the last key until the words are searched for
const MOST_ASKED = 100; // changed runs that are asked for together
const AT_TOP = 200; // pixels: who has scrolled further sees nothing move

/** @type {[string, string, string][]} class, name, what it is sorted by */
const COLUMNS = [
  ["at-verdict", "Verdict", "verdict"],
  ["at-name", "Run", "name"],
  ["at-families", "Families", ""],
  ["at-lead", "Leading statistic", ""],
  ["at-step num", "Step", "step"],
  ["at-alerts num", "Alerts", "alerts"],
  ["at-owner", "Owner", "owner"],
  ["at-age", "Updated", "updated"],
];

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showRuns(root, {signal, onLive, title}) {
  title("Runs");
  let view = read(location.search);
  /** @type {string[]} in the order in which they were listed: live changes move no row */
  let order = [];
  /** @type {Map<string, Run>} */
  const runs = new Map();
  /** @type {string | null} */
  let next = null;
  let total = 0;
  let turn = 0; // of the question: what answers an older one is thrown away
  let loading = false;
  /** @type {Set<string>} */
  const chosen = new Set();
  /** @type {Set<string>} changed, and not asked for yet */
  const stale = new Set();
  /** @type {Set<string>} not in the list, changed or new, and not asked for yet */
  const others = new Set();
  /** @type {Set<string>} of these, those that fit: they wait until somebody wants to see them */
  const waiting = new Set();
  let everything = false;
  /** @type {[number, number]} */
  let sight = [0, 0];
  /** @type {string | null} the row of the last press, for a range */
  let pressed = null;
  /** @type {string[]} */
  let tags = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;

  const body = h("tbody", {role: "rowgroup", onclick: press});
  const heads = COLUMNS.map(([name, text, by]) =>
    h("th", {role: "columnheader", scope: "col", class: name}, by ? h("button", {type: "button", class: "plain", onclick: () => choose({sort: turned(view.sort, by)})}, text) : text),
  );
  const allBox = h("input", {type: "checkbox", "aria-label": "Choose all runs that are listed", onchange: chooseAll});
  const table = h(
    "table",
    {class: "runs", role: "table"},
    h("caption", {class: "hidden"}, "Runs"),
    h("thead", {role: "rowgroup"}, h("tr", {role: "row"}, h("th", {role: "columnheader", scope: "col", class: "at-check"}, allBox), heads)),
    body,
  );
  const controls = filters(view, choose);
  const search = h("input", {type: "search", placeholder: "Search name, tag, owner, note, id", "aria-label": "Search runs", value: view.q, oninput: () => choose({q: search.value}, TYPED)});
  const count = h("p", {class: "count muted", role: "status"});
  const nothing = h("p", {class: "nothing muted", hidden: true}, "No run matches.");
  const news = h("button", {type: "button", class: "news", hidden: true, onclick: () => void toTop()});
  const list = h("div", {hidden: true}, controls.element, news, table, nothing);
  const empty = h("div", {hidden: true});
  const bulk = actions({
    runs: () => [...chosen].flatMap((id) => runs.get(id) ?? []),
    shelf: () => view.shelf,
    known: () => tags,
    clear: () => {
      chosen.clear();
      draw();
    },
    done: () => load(),
    signal,
  });
  fill(root, h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Runs"), count, search), list, empty, bulk.bar, bulk.toast);

  const show = windowed(body, {
    key: (/** @type {Run} */ run) => run.id,
    make: makeRow,
    update: (row, run, place) => updateRow(row, run, place, chosen.has(run.id)),
    onShown: (first, last) => {
      sight = [first, last];
      if (next !== null && last + AHEAD > order.length) void older();
      if (stale.size > 0 && order.slice(first, last).some((id) => stale.has(id))) refresh();
    },
    signal,
  });

  /** @param {Partial<View>} change @param {number} [wait] */
  function choose(change, wait = 0) {
    view = {...view, ...change};
    if (change.q === undefined || change.q !== search.value) search.value = view.q;
    history.replaceState(null, "", location.pathname + write(view));
    controls.show(view);
    turn += 1; // what is on its way answers another question
    clearTimeout(typing);
    typing = setTimeout(() => {
      chosen.clear();
      window.scrollTo(0, 0);
      load().catch((error) => signal.aborted || console.warn(error));
    }, wait);
  }

  function draw() {
    const shown = order.flatMap((id) => runs.get(id) ?? []);
    const blank = shown.length === 0 && !narrowed(view) && view.shelf === "";
    list.hidden = blank;
    empty.hidden = !blank;
    if (blank && empty.childElementCount === 0) empty.append(start());
    nothing.hidden = shown.length > 0 || blank;
    table.hidden = shown.length === 0;
    table.setAttribute("aria-rowcount", String(total + 1));
    COLUMNS.forEach(([, , by], i) => {
      const sorted = by !== "" && view.sort.replace("-", "") === by;
      if (sorted) heads[i].setAttribute("aria-sort", view.sort.startsWith("-") ? "descending" : "ascending");
      else heads[i].removeAttribute("aria-sort");
    });
    say(count, blank ? "" : `${plural(total, "run")}${chosen.size > 0 ? `, ${integer(chosen.size)} chosen` : ""}`);
    allBox.checked = shown.length > 0 && chosen.size === shown.length;
    allBox.indeterminate = chosen.size > 0 && chosen.size < shown.length;
    news.hidden = waiting.size === 0;
    say(news, `${plural(waiting.size, "other run")} changed. Show`);
    bulk.show();
    show(shown);
  }

  /** @param {Record<string, string | string[]>} more */
  function ask(more) {
    const asked = request(view, Date.now() / 1000);
    for (const [name, value] of Object.entries(more)) for (const one of [value].flat()) asked.append(name, one);
    return get(`/runs?${asked}`, signal);
  }

  /** The list from its top. */
  async function load() {
    const mine = (turn += 1);
    loading = true;
    const asked = Promise.all([ask({limit: String(PAGE)}), get("/projects", signal), get(`/tags${query({project: view.project})}`, signal)]);
    const [answer, known, words] = await asked.finally(() => {
      if (mine === turn) loading = false;
    });
    if (mine !== turn) return;
    tags = words.tags.map((/** @type {{name: string}} */ one) => one.name);
    controls.know(known.projects.map((/** @type {{project: string}} */ one) => one.project), words);
    runs.clear();
    order = [];
    take(answer.runs);
    next = answer.next;
    total = answer.total ?? order.length;
    stale.clear();
    others.clear();
    waiting.clear();
    for (const id of chosen) if (!runs.has(id)) chosen.delete(id);
    draw();
  }

  async function older() {
    if (loading || next === null) return;
    loading = true;
    const mine = turn;
    try {
      const answer = await ask({limit: String(PAGE), before: next});
      if (mine !== turn) return;
      take(answer.runs);
      next = answer.next;
      draw();
    } catch (error) {
      if (!signal.aborted) console.warn(error); // the next scroll asks again
    } finally {
      if (mine === turn) loading = false;
    }
  }

  /** @param {Run[]} found at the end of the list */
  function take(found) {
    for (const run of found) {
      if (!runs.has(run.id)) order.push(run.id);
      runs.set(run.id, run);
    }
  }

  const refresh = calm(async () => {
    const mine = turn;
    if (everything) {
      everything = false;
      for (const id of order) stale.add(id);
      const top = await ask({limit: String(PAGE)});
      if (mine !== turn) return;
      merge(top.runs);
      total = top.total ?? total;
    }
    const seen = order.slice(...sight).filter((id) => stale.has(id));
    const asked = [...seen, ...others].slice(0, MOST_ASKED);
    if (asked.length > 0) {
      const answer = await ask({id: asked, limit: String(MOST_ASKED)});
      if (mine !== turn) return;
      const fits = new Set(answer.runs.map((/** @type {Run} */ run) => run.id));
      for (const id of asked) {
        stale.delete(id);
        others.delete(id);
        if (!fits.has(id)) forget(id);
      }
      merge(answer.runs);
    }
    draw();
    if (others.size > 0) refresh();
  }, 1000);

  /** What is known is brought up to date; what is new comes on top, or waits until somebody asks for it. @param {Run[]} found */
  function merge(found) {
    /** @type {Run[]} */
    const fresh = [];
    for (const run of found) {
      stale.delete(run.id);
      if (runs.has(run.id)) runs.set(run.id, run);
      else fresh.push(run);
    }
    if (fresh.length === 0) return;
    if (view.sort === "-updated" && window.scrollY < AT_TOP) {
      for (const run of fresh) {
        waiting.delete(run.id);
        runs.set(run.id, run);
      }
      order.unshift(...fresh.map((run) => run.id));
      total = Math.max(total, order.length);
    } else {
      for (const run of fresh) waiting.add(run.id);
    }
  }

  /** @param {string} id */
  function forget(id) {
    others.delete(id);
    waiting.delete(id);
    chosen.delete(id);
    if (!runs.delete(id)) return;
    order = order.filter((one) => one !== id);
    total -= 1;
  }

  async function toTop() {
    window.scrollTo(0, 0);
    await load();
  }

  /** @param {MouseEvent} event */
  function press(event) {
    const box = event.target instanceof HTMLInputElement ? event.target : null;
    const id = box?.closest("[data-key]")?.getAttribute("data-key");
    if (!box || !id) return;
    const [from, to] = [order.indexOf(pressed ?? id), order.indexOf(id)].sort((a, b) => a - b);
    for (const one of event.shiftKey && from >= 0 ? order.slice(from, to + 1) : [id]) {
      if (box.checked) chosen.add(one);
      else chosen.delete(one);
    }
    pressed = id;
    draw();
  }

  function chooseAll() {
    if (allBox.checked) for (const id of order) chosen.add(id);
    else chosen.clear();
    draw();
  }

  const all = () => {
    everything = true;
    refresh();
  };

  await load();
  follow("/live", {
    signal,
    onState: onLive,
    onReturn: all,
    onChange: (change) => {
      if (change.state === "deleted") {
        forget(change.run);
        draw();
        return;
      }
      if (waiting.has(change.run)) return;
      (runs.has(change.run) ? stale : others).add(change.run);
      refresh();
    },
  });
  const slow = setInterval(() => document.hidden || all(), LOOK_AGAIN);
  const clock = setInterval(() => body.querySelectorAll("time").forEach(showAge), 5000);
  signal.addEventListener("abort", () => {
    clearInterval(slow);
    clearInterval(clock);
    clearTimeout(typing);
  });
}
