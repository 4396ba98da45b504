// @ts-check
// One rule: its text and fields, checked while they are written; the series it was begun from; then runs to try it on, tests, history.

import {get, path, post, put, query, remove, ruleHref} from "./api.js";
import {backtest} from "./backtest.js";
import {sure} from "./confirm.js";
import {fill, h, say} from "./dom.js";
import {moment, plural} from "./format.js";
import {linesOf, ruleChart} from "./rule-chart.js";
import {ruleForm} from "./rule-form.js";
import {ruleHistory} from "./rule-history.js";
import {ruleTests} from "./rule-tests.js";

/** @typedef {import("./app.js").Context} Context */
/** @typedef {import("./types.js").Rule} Rule */
/** @typedef {import("./types.js").RuleCheck} RuleCheck */
/** @typedef {import("./types.js").RuleVersion} RuleVersion */
/** @typedef {{text: string, tests: string, replaces: string | null, own: (RuleVersion & {history: RuleVersion[]}) | null, origin: string | null, run: string | null, series: string | null, note: string}} Begun what the editor begins with */

const SOON = 350; // milliseconds after the last key
const POINTS = 600; // of the chart

const BLANK = `id: my-rule
title: what goes wrong, in a few words
family: training
severity: warning
matches: [{statistic: loss}]
detector: {kind: threshold, above: 10, median: 5}
runbook:
  meaning: what it means when this fires
  check: [what to look at first]
  try:
    - {text: what to try, basis: inference, source: experience}
source: where the level comes from
`;

/**
 * A new rule: from a series of a run, from another rule, or from nothing.
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showNewRule(root, context) {
  const asked = new URLSearchParams(location.search);
  const [run, series, copied] = ["run", "series", "copy"].map((name) => asked.get(name));
  /** @type {Begun} */
  let begun = {text: BLANK, tests: "", replaces: null, own: null, origin: null, run: null, series: null, note: ""};
  if (copied) {
    const source = await get(path`/rules/source/${copied}`, context.signal);
    const {text} = await post("/rules/edit", {text: source.text, path: ["id"], value: `${copied.slice(0, 90)}-copy`});
    begun = {...begun, text, tests: source.tests, replaces: source.origin === "made here" ? null : copied, note: `copied from ${copied}`};
  } else if (run && series) {
    const proposed = await get(path`/runs/${run}/rule-proposal` + query({series}), context.signal);
    begun = {...begun, text: proposed.text, tests: proposed.tests, run, series};
  }
  context.title("New rule");
  await editor(root, context, begun);
}

/**
 * A rule that is there: one made here to be changed, another to be read.
 * @param {HTMLElement} root
 * @param {Context} context
 * @param {string} id
 */
export async function showRule(root, context, id) {
  context.title(id);
  /** @type {{rules: RuleVersion[]}} */
  const {rules} = await get("/rules/own?deleted=true", context.signal);
  /** @type {(RuleVersion & {history: RuleVersion[]}) | null} */
  const own = rules.some(({rule}) => rule === id) ? await get(path`/rules/own/${id}`, context.signal) : null;
  const source = own ?? (await get(path`/rules/source/${id}`, context.signal));
  await editor(root, context, {text: source.text, tests: source.tests, replaces: own?.replaces ?? null, own, origin: own ? null : source.origin, run: null, series: null, note: ""});
}

/** @param {HTMLElement} root @param {Context} context @param {Begun} begun */
async function editor(root, context, begun) {
  const {signal} = context;
  const {own, origin} = begun;
  const [session, {projects}, {statistics}] = await Promise.all([get("/session", signal), get("/projects", signal), get("/statistics", signal)]);
  const mayWrite = !session.needed || (session.scopes.includes("admin") && (own === null || session.project === null || own.project === session.project));
  const gone = own?.kind === "deleted";
  const readOnly = origin !== null || gone;
  /** @type {Rule | null} */
  let rule = null;
  let read = ""; // the text that `rule` is of
  let asked = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let saved = true;

  const source = h("textarea", {id: "rule-text", class: "yaml", rows: 24, spellcheck: "false", autocomplete: "off", readonly: readOnly, "aria-describedby": "rule-problems", oninput: touched});
  source.value = begun.text;
  const problems = h("ul", {id: "rule-problems", class: "problems", role: "status"});
  const words = h("p", {class: "muted rule-words"});
  const about = h("p", {class: "muted"});
  const chart = h("div", {class: "rule-preview"});
  /** @type {import("./rule-chart.js").Curve & {unit: string} | null} */
  let curve = null;

  const form = ruleForm({set, fixedId: own !== null, statistics: statistics.map((/** @type {{statistic: string}} */ one) => one.statistic)});
  const tests = ruleTests({text: begun.tests, editable: !readOnly, changed: touched});
  const trial = backtest({signal, draft: current, apply: readOnly ? null : applyLevels});

  const project = h("select", {id: "rule-project", disabled: session.project !== null && session.project !== undefined}, h("option", {value: ""}, "all projects"), names(projects, own?.project ?? null).map((name) => h("option", {value: name}, name)));
  project.value = own?.project ?? session.project ?? "";
  const pack = h("input", {id: "rule-pack", value: own?.pack ?? "yours", maxlength: 99, autocomplete: "off"});
  const instead = h("input", {id: "rule-instead", type: "checkbox", checked: begun.replaces !== null});
  const note = h("input", {id: "rule-note", value: begun.note, maxlength: 1000, autocomplete: "off", placeholder: "for whoever reads the history"});
  const failed = h("p", {class: "problem", role: "alert"});
  const said = h("span", {class: "said muted", role: "status"});
  const save = h("button", {type: "submit", class: "primary"}, own ? "Save" : "Put in force");
  const erase = h("button", {type: "button", class: "danger", onclick: () => void erased()}, "Delete");

  /** Somebody typed. */
  function touched() {
    saved = false;
    say(said, "");
    trial.stale();
    clearTimeout(timer);
    timer = setTimeout(() => void check(), SOON);
  }

  /** @param {(string | number)[]} at @param {unknown} value */
  async function set(at, value) {
    say(failed, "");
    try {
      source.value = (await post("/rules/edit", {text: source.value, path: at, value})).text;
      touched();
      clearTimeout(timer);
      await check();
    } catch (error) {
      say(failed, error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {Record<string, number>} levels */
  async function applyLevels(levels) {
    for (const [name, level] of Object.entries(levels)) await set(["detector", name], level);
    source.scrollIntoView({block: "nearest"});
  }

  /** What is written now, and the rule that it is: read anew where the last look is older. */
  async function current() {
    if (source.value !== read) {
      clearTimeout(timer);
      await check();
    }
    return {text: source.value, rule};
  }

  async function check() {
    const mine = (asked += 1);
    const draft = {text: source.value, tests: tests.text, rule: own?.rule ?? (origin === null ? null : wholeId(source.value)), run: begun.run};
    try {
      /** @type {RuleCheck} */
      const found = await post("/rules/check", draft);
      if (mine !== asked || signal.aborted) return;
      rule = found.rule;
      read = draft.text;
      fill(problems, found.problems.map(problem));
      say(words, found.says === null ? "" : found.says.map((line) => line.trim()).join(". "));
      say(about, found.series === null ? "" : `In this run it is about ${plural(found.series.count, "series", "series")}${found.series.count > 0 && found.series.count < 4 ? `: ${found.series.keys.join(", ")}` : ""}.`);
      form.show(found.rule);
      preview();
      save.disabled = !found.good || !mayWrite;
      if (!found.good) {
        tests.wait(found.problems.some(({part}) => part === "tests") ? "The tests have problems: they are listed under the rule." : "The tests are run once the rule has no problems.");
        return;
      }
      const {tests: played} = await post("/rules/tests", {text: draft.text, tests: draft.tests});
      if (mine === asked && !signal.aborted && rule !== null) tests.show(played, rule);
    } catch (error) {
      if (mine === asked && !signal.aborted) fill(problems, h("li", {class: "problem"}, error instanceof Error ? error.message : String(error)));
    }
  }

  function preview() {
    if (curve === null || begun.series === null) return;
    fill(chart, ruleChart({curve, lines: rule === null || rule.derive || rule.joint ? [] : linesOf(rule.detector), title: begun.series, unit: curve.unit}));
  }

  /** @param {import("./types.js").RuleProblem} one */
  function problem(one) {
    const text = h("span", null, one.says);
    if (one.line === null) return h("li", {class: "problem"}, text);
    const field = one.part === "rule" ? source : /** @type {HTMLTextAreaElement} */ (document.getElementById("tests-text"));
    const line = one.line;
    return h("li", {class: "problem"}, h("button", {type: "button", class: "plain at", onclick: () => goTo(field, line)}, `${one.part === "tests" ? "tests, " : ""}line ${one.line}`), " ", text);
  }

  async function store() {
    say(failed, "");
    save.disabled = true;
    try {
      const wish = {text: source.value, tests: tests.text, project: project.value || null, pack: pack.value.trim() || "yours", replaces: instead.checked ? begun.replaces : null, note: note.value};
      const made = own ? await put(path`/rules/own/${own.rule}`, {...wish, version: own.version}) : await post("/rules/own", wish);
      saved = true;
      if (own) {
        await again();
      } else {
        history.replaceState(null, "", ruleHref(made.rule));
        context.title(made.rule);
        await showRule(root, context, made.rule);
      }
      say(/** @type {Element} */ (root.querySelector(".said")), "Saved: workers heed it within seconds.");
    } catch (error) {
      say(failed, error instanceof Error ? error.message : String(error));
      save.disabled = false;
    }
  }

  async function erased() {
    if (own === null || !(await sure(`Delete the rule “${own.rule}”?`, "What fires under it is resolved. Its history stays, and it can be restored."))) return;
    try {
      await remove(path`/rules/own/${own.rule}`);
      saved = true;
      await again();
    } catch (error) {
      say(failed, error instanceof Error ? error.message : String(error));
    }
  }

  const again = () => (own === null ? Promise.resolve() : showRule(root, context, own.rule));

  const heading = own?.rule ?? (origin === null ? "New rule" : wholeId(begun.text) ?? "Rule");
  const settings = readOnly
    ? null
    : h(
        "div",
        {class: "rule-fields"},
        h("label", {for: "rule-project"}, "In runs of", project),
        h("label", {for: "rule-pack"}, "Pack", pack),
        h("label", {for: "rule-note"}, "Why (optional)", note),
        begun.replaces !== null && h("label", {for: "rule-instead", class: "check"}, instead, h("span", null, "Instead of ", h("code", null, begun.replaces), ", which is not in force where this one is")),
      );
  const foot = readOnly
    ? h("p", {class: "muted"}, gone ? "This rule was deleted. Restore a version of it below." : `It ${origin === "built-in" ? "comes with Foreshock" : `is from ${origin}`}, and is not changed here. Copy it to have one that you can change.`)
    : h("div", {class: "actions"}, save, own && mayWrite && erase, said, !mayWrite && h("span", {class: "muted"}, "To save, sign in with a key that may do everything."));

  fill(
    root,
    h(
      "div",
      {class: "toolbar"},
      h("h1", {tabindex: -1}, heading),
      h("p", {class: "count muted"}, own ? `pack ${own.pack}, version ${own.version}, ${own.kind} by ${own.made_by}, ${moment(own.made_at)}` : origin === null ? "" : origin),
      readOnly && !gone && h("a", {class: "button", href: `/rules/new${query({copy: heading})}`}, "Copy"),
      own && !gone && h("a", {class: "button", href: `/rules/new${query({copy: own.rule})}`}, "Copy"),
    ),
    h(
      "form",
      {class: "card rule-edit", "aria-label": "The rule", onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        void store();
      }},
      h("div", {class: "rule-columns"}, readOnly ? null : h("div", {class: "rule-left"}, form.element, settings), h("div", {class: "rule-right"}, h("label", {for: "rule-text"}, "Text of the rule"), source)),
      problems,
      own?.problem && h("p", {class: "problem"}, `Not in force: ${own.problem}`),
      words,
      about,
      chart,
      failed,
      foot,
    ),
    trial.element,
    tests.element,
    own && ruleHistory(own.history, {mayWrite, restored: again}),
  );

  window.addEventListener("beforeunload", (event) => !saved && event.preventDefault(), {signal});
  if (begun.run !== null && begun.series !== null) {
    const [data, of] = await Promise.all([get(path`/runs/${begun.run}/data` + query({key: begun.series, points: POINTS}), signal), get(path`/runs/${begun.run}`, signal)]);
    const [one] = data.series;
    curve = {steps: one.steps.map(Number), values: one.values.map((/** @type {any} */ value) => (Array.isArray(value) ? value[0] : value)), unit: one.unit};
    trial.choose({run: of.id, project: of.project, name: of.name, state: of.state, last_step: of.last_step, updated_at: of.updated_at, tags: []}, of.verdict === "fine");
  }
  await Promise.all([check(), trial.load()]);
}

/** @param {{project: string}[]} projects @param {string | null} own */
const names = (projects, own) => [...new Set([...projects.map(({project}) => project), ...(own === null ? [] : [own])])].sort();

/** The id that a text says. @param {string} text */
const wholeId = (text) => /^id:\s*([a-z0-9-]+)\s*$/m.exec(text)?.[1] ?? null;

/** @param {HTMLTextAreaElement} field @param {number} line */
function goTo(field, line) {
  const lines = field.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  const closed = field.closest("details");
  if (closed) closed.open = true;
  field.focus();
  field.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
  field.scrollTop = (line - 4) * Number.parseFloat(getComputedStyle(field).lineHeight);
}
