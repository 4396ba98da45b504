// @ts-check
// The list of runs: what lives, what is in trouble, and the statistic that tells most.

import {get, path, query, runHref} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {age, integer, plural, quantity} from "./format.js";
import {icon, word} from "./icons.js";
import {calm, follow} from "./live.js";
import {spark, spoken} from "./spark.js";
import {start} from "./start.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./app.js").Context} Context */

const LOOK_AGAIN = 30_000; // a hint may be lost, and a run falls silent without one
const FEW = 8; // so many changed runs are fetched one by one, more as the whole list

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showRuns(root, {signal, onLive, title}) {
  title("Runs");
  const address = new URLSearchParams(location.search);
  let project = address.get("project") ?? "";
  let words = address.get("q") ?? "";
  /** @type {Map<string, Run>} */
  const runs = new Map(); // in the order in which they were listed: live changes move no row
  /** @type {string | null} */
  let next = null;
  /** @type {Set<string>} */
  const changed = new Set();
  let everything = false;

  const rows = h("tbody", {role: "rowgroup"});
  const select = h("select", {"aria-label": "Project", onchange: () => choose({project: select.value})}, h("option", {value: ""}, "All projects"));
  const search = h("input", {type: "search", placeholder: "Search runs", "aria-label": "Search runs", value: words, oninput: () => choose({words: search.value})});
  const more = h("button", {type: "button", class: "more", hidden: true, onclick: () => void older()}, "Show older runs");
  const count = h("p", {class: "count muted", role: "status"});
  const nothing = h("p", {class: "nothing muted", hidden: true}, "No run matches.");
  const table = h(
    "table",
    {class: "runs", role: "table"},
    h("caption", {class: "hidden"}, "Runs, the latest first"),
    h(
      "thead",
      {role: "rowgroup"},
      h(
        "tr",
        {role: "row"},
        ["Verdict", "Run", "Leading statistic", "Last step", "State", "Updated"].map((name) => h("th", {role: "columnheader", scope: "col", class: name === "Last step" || name === "Updated" ? "num" : null}, name)),
      ),
    ),
    rows,
  );
  const list = h("div", {hidden: true}, table, nothing, more);
  const empty = h("div", {hidden: true});
  fill(root, h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Runs"), count, select, search), list, empty);

  /** @param {{project?: string, words?: string}} change */
  function choose(change) {
    const other = change.project !== undefined && change.project !== project;
    project = change.project ?? project;
    words = change.words ?? words;
    history.replaceState(null, "", location.pathname + query({project, q: words}));
    if (other) void load();
    else draw();
  }

  function draw() {
    const wanted = words.trim().toLowerCase().split(/\s+/);
    const shown = [...runs.values()].filter((run) => wanted.every((part) => `${run.project} ${run.name} ${run.id} ${run.state} ${run.verdict}`.toLowerCase().includes(part)));
    each(rows, shown, (run) => run.id, makeRow, updateRow);
    const blank = runs.size === 0 && !project;
    list.hidden = blank;
    empty.hidden = !blank;
    if (blank && empty.childElementCount === 0) empty.append(start());
    nothing.hidden = shown.length > 0 || blank;
    more.hidden = next === null;
    const firing = shown.filter((run) => run.firing > 0).length;
    say(count, blank ? "" : `${plural(shown.length, "run")}${next ? " of more" : ""}${firing ? `, ${integer(firing)} with alerts` : ""}`);
  }

  async function load() {
    const [answer, known] = await Promise.all([get(`/runs${query({project, limit: 100})}`, signal), get("/projects", signal)]);
    const before = [...runs.keys()];
    /** @type {Map<string, Run>} */
    const fresh = new Map(answer.runs.map((/** @type {Run} */ run) => [run.id, run]));
    const stay = before.filter((id) => fresh.has(id));
    runs.clear();
    for (const [id, run] of fresh) if (!stay.includes(id)) runs.set(id, run);
    for (const id of stay) runs.set(id, /** @type {Run} */ (fresh.get(id)));
    next = answer.next ?? null;
    projects(known.projects.map((/** @type {{project: string}} */ one) => one.project));
    draw();
  }

  async function older() {
    more.disabled = true;
    try {
      const answer = await get(`/runs${query({project, limit: 100, before: next})}`, signal);
      for (const run of answer.runs) if (!runs.has(run.id)) runs.set(run.id, run);
      next = answer.next ?? null;
      draw();
    } finally {
      more.disabled = false;
    }
  }

  /** @param {string[]} names */
  function projects(names) {
    if (project && !names.includes(project)) names = [project, ...names];
    fill(select, h("option", {value: ""}, "All projects"), names.map((name) => h("option", {value: name, selected: name === project}, name)));
    select.hidden = names.length < 2 && !project;
  }

  const refresh = calm(async () => {
    const ids = [...changed];
    changed.clear();
    if (everything || ids.length > FEW || ids.some((id) => !runs.has(id))) {
      everything = false;
      await load();
      return;
    }
    const fresh = await Promise.all(ids.map((id) => get(path`/runs/${id}`, signal)));
    for (const run of fresh) runs.set(run.id, run);
    draw();
  }, 1000);
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
        changed.delete(change.run);
        if (runs.delete(change.run)) draw();
        return;
      }
      changed.add(change.run);
      refresh();
    },
  });
  const slow = setInterval(() => document.hidden || all(), LOOK_AGAIN);
  const clock = setInterval(() => rows.querySelectorAll("time").forEach(showAge), 5000);
  signal.addEventListener("abort", () => {
    clearInterval(slow);
    clearInterval(clock);
  });
}

/** @param {Run} run */
function makeRow(run) {
  return h(
    "tr",
    {role: "row"},
    h("td", {role: "cell", class: "at-verdict"}, h("span", {class: "chip"})),
    h("td", {role: "cell", class: "at-name"}, h("a", {class: "row-link", href: runHref(run.id)}, h("span", {class: "run-name"})), h("span", {class: "run-project muted"})),
    h("td", {role: "cell", class: "at-lead"}, h("span", {class: "lead-spark"}), h("span", {class: "lead-text"}, h("span", {class: "lead-value num"}), h("span", {class: "lead-name muted"}))),
    h("td", {role: "cell", class: "at-step num"}),
    h("td", {role: "cell", class: "at-state"}, h("span", {class: "state"})),
    h("td", {role: "cell", class: "at-age num muted"}, h("time", null)),
  );
}

/** @param {Element} row @param {Run} run */
function updateRow(row, run) {
  const seen = `${run.revision} ${run.state} ${run.verdict}`;
  if (row.getAttribute("data-seen") === seen) return;
  row.setAttribute("data-seen", seen);
  row.setAttribute("data-verdict", run.verdict);
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  chip(at(".chip"), run.verdict);
  say(at(".run-name"), run.name || run.id);
  say(at(".run-project"), run.project);
  say(at(".at-step"), integer(run.last_step));
  state(at(".state"), run.state);
  if (run.lead) {
    fill(at(".lead-spark"), spark(run.lead));
    say(at(".lead-value"), quantity(run.lead.last, run.lead.unit));
    say(at(".lead-name"), spoken(run.lead.statistic));
  }
  const time = at("time");
  time.setAttribute("datetime", new Date(run.updated_at * 1000).toISOString());
  showAge(time);
}

/** @param {Element} time */
function showAge(time) {
  say(time, age(Date.parse(time.getAttribute("datetime") ?? "") / 1000, Date.now() / 1000));
}

/** A verdict in shape, colour and word. @param {HTMLElement} element @param {string} verdict */
export function chip(element, verdict) {
  if (element.getAttribute("data-verdict") === verdict) return;
  element.setAttribute("data-verdict", verdict);
  element.className = `chip chip-${verdict}`;
  fill(element, icon(verdict), word(verdict));
}

/** What a run does, in shape, colour and word. @param {HTMLElement} element @param {string} name */
export function state(element, name) {
  if (element.getAttribute("data-state") === name) return;
  element.setAttribute("data-state", name);
  element.className = `state state-${name}`;
  fill(element, icon(name), word(name));
}
