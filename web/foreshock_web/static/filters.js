// @ts-check
// The controls that narrow the list of runs.

import {fill, h} from "./dom.js";
import {integer} from "./format.js";
import {narrowed, read, SORTS} from "./runs-query.js";

/** @typedef {import("./runs-query.js").View} View */

const STATES = [["running", "Running"], ["silent", "Silent"], ["finished", "Finished"], ["failed", "Failed"]];
const VERDICTS = [["collapsing", "Collapsing"], ["watch", "Watch"], ["fine", "Fine"], ["none", "No verdict"]];
const STARTED = [["1d", "Last 24 hours"], ["7d", "Last 7 days"], ["30d", "Last 30 days"], ["90d", "Last 90 days"], ["between", "Between …"]];
const SHELVES = [["archived", "Archived"], ["trash", "Trash"]];
/** @type {Record<string, string>} */
const SORTED = {updated: "change", created: "start", name: "name", step: "last step", verdict: "verdict", alerts: "open alerts", owner: "owner"};

/**
 * @param {View} view as it is at first
 * @param {(change: Partial<View>) => void} choose
 */
export function filters(view, choose) {
  const project = options("Project", "All projects", [], (value) => choose({project: value}));
  const state = options("Status", "Any status", STATES, (value) => choose({state: value}));
  const verdict = options("Verdict", "Any verdict", VERDICTS, (value) => choose({verdict: value}));
  const tag = options("Tag", "Any tag", [], (value) => value && choose({tags: [...new Set([...view.tags, value])]}));
  const owner = options("Owner", "Any owner", [], (value) => choose({owner: value}));
  const started = options("Started", "Started any time", STARTED, (value) => choose({started: value, ...(value === "between" ? {} : {from: "", until: ""})}));
  const shelf = options("Shelf", "Active runs", SHELVES, (value) => choose({shelf: /** @type {View["shelf"]} */ (value)}));
  const sorted = SORTS.flatMap((name) => [[`-${name}`, `By ${SORTED[name]}, from the ${name === "name" || name === "owner" ? "end" : "top"}`], [name, `By ${SORTED[name]}${name === "name" || name === "owner" ? "" : ", from the bottom"}`]]);
  const sort = options("Sort", "", sorted, (value) => choose({sort: value}));
  sort.classList.add("sort-select");
  const from = h("input", {type: "date", "aria-label": "Started from", onchange: () => choose({from: from.value})});
  const until = h("input", {type: "date", "aria-label": "Started until", onchange: () => choose({until: until.value})});
  const between = h("span", {class: "between", hidden: true}, from, " to ", until);
  const chosen = h("span", {class: "chosen-tags"});
  const clear = h("button", {type: "button", class: "clear", onclick: () => choose({...read(""), shelf: view.shelf, sort: view.sort})}, "Clear filters");
  const fold = h("button", {type: "button", class: "fold", "aria-expanded": "false", onclick: () => fold.setAttribute("aria-expanded", String(fold.getAttribute("aria-expanded") !== "true"))}, "Filters and order");
  const element = h("div", {class: "filters"}, fold, h("div", {class: "filter-row"}, project, state, verdict, tag, chosen, owner, started, between, shelf, sort, clear));

  /** @param {View} now */
  function show(now) {
    view = now;
    for (const [select, value] of /** @type {[HTMLSelectElement, string][]} */ ([[project, now.project], [state, now.state], [verdict, now.verdict], [owner, now.owner], [started, now.started], [shelf, now.shelf], [sort, now.sort]])) {
      if (value && ![...select.options].some((option) => option.value === value)) select.append(h("option", {value}, value));
      select.value = value;
    }
    tag.value = "";
    between.hidden = now.started !== "between";
    [from.value, until.value] = [now.from, now.until];
    fill(chosen, now.tags.map((name) => h("button", {type: "button", class: "tag", "aria-label": `No longer only ${name}`, onclick: () => choose({tags: now.tags.filter((one) => one !== name)})}, name, " ×")));
    clear.hidden = !narrowed(now);
  }

  /**
   * What there is to choose from.
   * @param {string[]} projects
   * @param {{tags: {name: string, runs: number}[], owners: {name: string, runs: number}[]}} words
   */
  function know(projects, words) {
    refill(project, projects.map((name) => [name, name]));
    refill(tag, words.tags.map((one) => [one.name, `${one.name} (${integer(one.runs)})`]));
    refill(owner, words.owners.map((one) => [one.name, `${one.name} (${integer(one.runs)})`]));
    project.hidden = projects.length < 2 && !view.project;
    tag.hidden = words.tags.length === 0 && view.tags.length === 0;
    owner.hidden = words.owners.length === 0 && !view.owner;
    show(view);
  }

  show(view);
  return {element, show, know};
}

/**
 * @param {string} label
 * @param {string} none the word for no choice; empty: there is always one
 * @param {string[][]} known values and their words
 * @param {(value: string) => void} chosen
 */
function options(label, none, known, chosen) {
  const select = h("select", {"aria-label": label, onchange: () => chosen(select.value)}, none !== "" && h("option", {value: ""}, none), known.map(([value, text]) => h("option", {value}, text)));
  return select;
}

/** @param {HTMLSelectElement} select @param {string[][]} known */
function refill(select, known) {
  const wanted = known.map(([value, text]) => `${value}\n${text}`).join("\n\n");
  if (select.dataset.known === wanted) return; // it may be open right now
  select.dataset.known = wanted;
  fill(select, select.options[0], known.map(([value, text]) => h("option", {value}, text)));
}
