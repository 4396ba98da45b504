// @ts-check
// A rule tried on chosen runs: where it would have fired in each, drawn over its series at once; and the level that healthy runs suggest.

import {ApiError, get, path, post, query, runHref} from "./api.js";
import {fill, h, say} from "./dom.js";
import {integer, number, plural} from "./format.js";
import {icon} from "./icons.js";
import {linesAsCompared, linesOf, ruleChart, told} from "./rule-chart.js";
import {runPicker} from "./run-picker.js";

/** @typedef {import("./types.js").Rule} Rule */
/** @typedef {import("./types.js").TriedRun} TriedRun */

const POINTS = 600; // of a chart
const AT_A_TIME = 4; // series that are fetched at once

/**
 * @param {{signal: AbortSignal, draft: () => Promise<{text: string, rule: Rule | null}>, apply: ((levels: Record<string, number>) => Promise<void>) | null}} options
 */
export function backtest({signal, draft, apply}) {
  const picker = runPicker(signal, stale);
  const problem = h("p", {class: "problem", role: "alert"});
  const summary = h("p", {class: "trial-summary", role: "status"});
  const results = h("div", {class: "played"});
  const suggestion = h("div", {class: "suggestion", role: "status"});
  const rate = h("input", {id: "trial-rate", inputmode: "decimal", value: "5", size: 4, autocomplete: "off"});
  const tryIt = h("button", {type: "button", class: "primary", onclick: () => void run()}, "Try it on these runs");
  const suggestIt = h("button", {type: "button", onclick: () => void suggest()}, "Suggest a level");
  let round = 0;

  function stale() {
    if (summary.textContent && !results.dataset.stale) {
      results.dataset.stale = "true";
      say(summary, `${summary.textContent} (before the last change)`);
    }
  }

  /** @param {HTMLButtonElement} button @param {() => Promise<void>} work */
  async function busy(button, work) {
    say(problem, "");
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) say(problem, error instanceof ApiError ? error.message : String(error));
    } finally {
      button.disabled = false;
    }
  }

  /** The draft's text, or a sentence that says why it cannot be tried. */
  async function text() {
    const {text: written, rule} = await draft();
    if (rule === null) say(problem, "The rule has problems: they are listed under its text. Mend them first.");
    return rule === null ? null : {written, rule};
  }

  const run = () => busy(tryIt, async () => {
    const now = await text();
    if (now === null) return;
    if (picker.chosen.length === 0) {
      say(problem, "Choose runs first.");
      return;
    }
    /** @type {Record<string, number>} */
    const outcomes = {};
    for (const one of picker.chosen) {
      if (one.healthy || one.outcome.trim() === "") continue;
      if (!/^\d{1,15}$/.test(one.outcome.trim())) {
        say(problem, `“${one.outcome}” is no step: write a whole number, such as 942.`);
        return;
      }
      outcomes[one.run] = Number(one.outcome);
    }
    const mine = (round += 1);
    say(summary, `Trying it on ${picker.said}…`);
    const answer = await post("/rules/backtest", {
      draft: now.written,
      rules: [now.rule.id],
      runs: picker.chosen.filter(({healthy}) => !healthy).map((one) => one.run),
      healthy: picker.chosen.filter(({healthy}) => healthy).map((one) => one.run),
      outcomes,
    });
    const found = answer.rules.find((/** @type {{rule: string}} */ one) => one.rule === now.rule.id);
    delete results.dataset.stale;
    say(summary, summed(found));
    const names = new Map(picker.chosen.map((one) => [one.run, one.label]));
    const tried = [...found.runs.map((/** @type {TriedRun} */ one) => ({one, healthy: false})), ...found.healthy_runs.map((/** @type {TriedRun} */ one) => ({one, healthy: true}))];
    const cards = tried.map(({one, healthy}) => result(one, healthy, names.get(one.run) ?? one.run));
    fill(results, cards.map(({element}) => element));
    const waiting = cards.map((card, i) => ({card, one: tried[i].one})).filter(({one}) => one.shown !== null);
    await Promise.all(Array.from({length: AT_A_TIME}, async () => {
      for (let next = waiting.shift(); next && mine === round && !signal.aborted; next = waiting.shift()) await next.card.draw(now.rule);
    }));
    results.dataset.done = String(mine);
  });

  const suggest = () => busy(suggestIt, async () => {
    const now = await text();
    if (now === null) return;
    const healthy = picker.chosen.filter((one) => one.healthy).map((one) => one.run);
    const share = Number(rate.value.replace(",", ".").replace("%", "")) / 100;
    if (healthy.length === 0) say(problem, "Choose healthy runs first: a level is suggested from them.");
    else if (!(share > 0 && share < 1)) say(problem, "Write the wanted rate of false alarms as a percentage of healthy runs, such as 5.");
    else {
      fill(suggestion, h("p", {class: "muted"}, "Looking for the level…"));
      try {
        const found = await post("/rules/suggest", {draft: now.written, rule: now.rule.id, healthy, rate: share});
        if (found.refused !== null) fill(suggestion, h("p", null, found.refused));
        else fill(suggestion, h("p", null, found.says), apply && put(found.levels));
      } catch (error) {
        fill(suggestion);
        throw error;
      }
    }
  });

  /** @param {Record<string, number>} levels */
  function put(levels) {
    const words = Object.entries(levels).map(([name, level]) => `${name}: ${number(level)}`).join(", ");
    return h("button", {type: "button", class: "primary", onclick: async () => {
      await apply?.(levels);
      fill(suggestion, h("p", null, `Put into the rule: ${words}.`));
    }}, `Use ${words}`);
  }

  const element = h(
    "section",
    {class: "part", "aria-labelledby": "trial-title"},
    h("h2", {id: "trial-title"}, "Try it on runs"),
    h("p", {class: "muted"}, "The rule as it is written here, on stored runs, by the code that judges runs while they go on. Nothing is stored and nobody is told."),
    picker.element,
    h("div", {class: "actions trial-actions"}, tryIt, h("span", {class: "suggest-form"}, h("label", {for: "trial-rate"}, "False alarms in at most", rate, "% of healthy runs"), suggestIt)),
    problem,
    suggestion,
    summary,
    results,
  );
  return {element, load: picker.load, stale, choose: picker.choose};
}

/** @param {{summary: string, runs: TriedRun[], healthy: {runs: number, watched: number, fired: number}}} found */
function summed({runs, healthy}) {
  const watched = runs.filter((one) => one.watched > 0);
  const parts = [];
  if (runs.length > 0) parts.push(`Fired in ${watched.filter((one) => one.fired_step !== null).length} of ${plural(watched.length, "run")} that went wrong`);
  if (healthy.runs > 0) parts.push(`${healthy.fired === 0 ? "No false alarm" : plural(healthy.fired, "false alarm")} in ${plural(healthy.watched, "healthy run")}`);
  const without = runs.length - watched.length + healthy.runs - healthy.watched;
  if (without > 0) parts.push(`${plural(without, "run")} without such a series`);
  return `${parts.join(". ")}.`;
}

/** @param {TriedRun} one @param {boolean} healthy @param {string} name */
function result(one, healthy, name) {
  const bad = healthy ? one.fired_step !== null : one.fired_step === null;
  const verdict = one.watched === 0 ? "none" : healthy ? (bad ? "collapsing" : "fine") : bad ? "watch" : "fine";
  const words = one.watched === 0 ? "no such series" : healthy ? (bad ? "false alarm" : "silent, as it should be") : bad ? "missed" : "found";
  const chart = h("div", {class: "result-chart"});
  const facts = /** @type {[string, string][]} */ ([
    ["fired at step", integer(one.fired_step)],
    ["level", one.level === null ? "–" : number(one.level)],
    ["of baseline", one.share_of_baseline === null ? "–" : `${Math.round(100 * one.share_of_baseline)} %`],
    ["critical at", integer(one.critical_step)],
    ["resolved at", integer(one.resolved_step)],
    ["lead", one.lead === null ? "–" : one.lead >= 0 ? `${integer(one.lead)} steps` : `${integer(-one.lead)} steps late`],
    ["places", one.places > 1 ? integer(one.places) : "–"],
  ]).filter(([, value]) => value !== "–");
  const element = h(
    "article",
    {class: "card played-test", "data-result": words},
    h("h3", null, icon(verdict), h("a", {href: runHref(one.run)}, name), h("span", {class: `chip chip-${verdict}`}, words)),
    facts.length > 0 && h("dl", {class: "facts"}, facts.map(([label, value]) => h("div", null, h("dt", null, label), h("dd", null, value)))),
    chart,
  );
  return {
    element,
    /** @param {Rule} rule */
    async draw(rule) {
      const shown = one.shown;
      if (shown === null) return;
      const {series: [curve]} = await get(path`/runs/${one.run}/data` + query({key: shown.series, points: POINTS}));
      const values = curve.values.map((/** @type {any} */ value) => (Array.isArray(value) ? mean(value) : value));
      const own = rule.derive || rule.joint ? [] : linesOf(rule.detector);
      const lines = own.length > 0 ? own : linesAsCompared(shown.levels);
      fill(chart, ruleChart({curve: {steps: curve.steps.map(Number), values}, lines, states: shown.states, title: shown.series, unit: curve.unit}), h("p", {class: "muted"}, told(shown.states)));
    },
  };
}

/** Of the entries of a vector. @param {any[]} entries */
function mean(entries) {
  const numbers = entries.filter((one) => one !== null).map(Number);
  return numbers.length === 0 ? null : numbers.reduce((a, b) => a + b, 0) / numbers.length;
}
