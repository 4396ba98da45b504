// @ts-check
// Runs to try a rule on: found by name, among the latest, or by the tag `healthy`; each either went wrong or was healthy.

import {get, query} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {age, integer, plural} from "./format.js";

/** @typedef {import("./types.js").Candidate} Candidate */
/** @typedef {{run: string, label: string, healthy: boolean, outcome: string}} Chosen `outcome`: the step at which people saw it, as they wrote it */

const HEALTHY = "healthy"; // the tag
const SOON = 250; // milliseconds after the last key

/**
 * @param {AbortSignal} signal
 * @param {() => void} changed
 */
export function runPicker(signal, changed) {
  /** @type {Map<string, Chosen>} */
  const chosen = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = 0;
  const search = h("input", {type: "search", id: "trial-search", placeholder: "Name, id or project…", autocomplete: "off", oninput: () => {
    clearTimeout(timer);
    timer = setTimeout(() => void look(), SOON);
  }});
  const tagged = h("button", {type: "button", "aria-pressed": "false", onclick: () => {
    tagged.setAttribute("aria-pressed", String(tagged.getAttribute("aria-pressed") !== "true"));
    void look();
  }}, "Tagged healthy");
  const found = h("ul", {class: "found-runs"});
  const none = h("p", {class: "muted", role: "status"});
  const list = h("ul", {class: "chosen-runs"});
  const empty = h("p", {class: "muted"}, "No run chosen yet.");
  const allHealthy = h("button", {type: "button", onclick: () => {
    for (const run of shown) if (!chosen.has(run.run)) choose(run, true);
  }}, "All of these as healthy");
  /** @type {Candidate[]} */
  let shown = [];

  async function look() {
    const mine = (asked += 1);
    const tag = tagged.getAttribute("aria-pressed") === "true" ? HEALTHY : "";
    const {runs} = await get(`/rules/candidates${query({search: search.value, tag, limit: tag ? 200 : 20})}`, signal);
    if (mine !== asked) return;
    shown = runs;
    say(none, runs.length > 0 ? "" : tag ? `No run has the tag “${HEALTHY}”: config={"tags": ["${HEALTHY}"]}` : "No run is called so.");
    each(found, shown, ({run}) => run, make, update);
    showChosen();
  }

  /** @param {Candidate} run */
  const label = (run) => `${run.project} / ${run.name || run.run}`;

  /** @param {Candidate} run @param {boolean} healthy */
  function choose(run, healthy) {
    chosen.set(run.run, {run: run.run, label: label(run), healthy, outcome: ""});
    showChosen();
    changed();
  }

  /** @param {Candidate} run */
  function make(run) {
    const name = label(run);
    return h(
      "li",
      null,
      h("span", {class: "found-name"}, h("span", null, name), h("span", {class: "muted"})),
      h("span", {class: "found-actions"}, h("button", {type: "button", "aria-label": `${name} went wrong`, onclick: () => choose(run, false)}, "Went wrong"), h("button", {type: "button", "aria-label": `${name} was healthy`, onclick: () => choose(run, true)}, "Healthy")),
    );
  }

  /** @param {Element} element @param {Candidate} run */
  function update(element, run) {
    say(/** @type {Element} */ (element.querySelector(".muted")), `${run.last_step === null ? "" : `${integer(run.last_step)} steps, `}${age(run.updated_at, Date.now() / 1000)}${run.tags.length > 0 ? ` · ${run.tags.join(", ")}` : ""}`);
  }

  function showChosen() {
    for (const element of found.children) /** @type {HTMLElement} */ (element).hidden = chosen.has(element.getAttribute("data-key") ?? "");
    empty.hidden = chosen.size > 0;
    allHealthy.hidden = shown.filter(({run}) => !chosen.has(run)).length < 2;
    each(list, [...chosen.values()], (one) => `${one.run} ${one.healthy}`, makeChosen, () => {});
  }

  /** @param {Chosen} one */
  function makeChosen(one) {
    const id = `outcome-${one.run}`;
    return h(
      "li",
      {class: "chosen-run"},
      h("span", {class: `chip ${one.healthy ? "chip-fine" : "chip-collapsing"}`}, one.healthy ? "healthy" : "went wrong"),
      h("span", {class: "found-name"}, one.label),
      !one.healthy && h("label", {for: id, class: "outcome"}, "seen at step", h("input", {id, inputmode: "numeric", value: one.outcome, autocomplete: "off", oninput: (/** @type {Event} */ event) => {
        one.outcome = /** @type {HTMLInputElement} */ (event.target).value;
        changed();
      }})),
      h("button", {type: "button", class: "quiet", "aria-label": `Leave ${one.label} out`, onclick: () => {
        chosen.delete(one.run);
        showChosen();
        changed();
      }}, "×"),
    );
  }

  const element = h(
    "div",
    {class: "picker"},
    h("div", {class: "picker-find"}, h("label", {for: "trial-search"}, "Find runs"), h("div", {class: "actions"}, search, tagged, allHealthy), found, none),
    h("div", {class: "picker-chosen"}, h("h3", null, "Chosen runs"), empty, list),
  );
  return {
    element,
    load: look,
    /** @param {Candidate} run @param {boolean} healthy */
    choose,
    get chosen() {
      return [...chosen.values()];
    },
    /** In words, for whoever reads the result. */
    get said() {
      const healthy = [...chosen.values()].filter((one) => one.healthy).length;
      return [chosen.size - healthy > 0 && `${plural(chosen.size - healthy, "run")} that went wrong`, healthy > 0 && `${plural(healthy, "healthy run")}`].filter(Boolean).join(", ");
    },
  };
}
