// @ts-check
// The drawn tests of a rule: the text that they are written in, and what came of each, as small charts.

import {fill, h, say} from "./dom.js";
import {integer, plural} from "./format.js";
import {icon} from "./icons.js";
import {linesOf, ruleChart, told} from "./rule-chart.js";

/** @typedef {import("./types.js").PlayedTest} PlayedTest */
/** @typedef {import("./types.js").Rule} Rule */

/**
 * @param {{text: string, editable: boolean, changed: () => void}} options
 */
export function ruleTests({text, editable, changed}) {
  const source = h("textarea", {id: "tests-text", class: "yaml", rows: 12, spellcheck: "false", autocomplete: "off", readonly: !editable, "aria-describedby": "tests-about", oninput: changed});
  source.value = text;
  const summary = h("p", {class: "muted", role: "status"});
  const charts = h("div", {class: "played"});
  /** @type {Rule | null} */
  let rule = null;
  const add = h("button", {type: "button", onclick: () => {
    source.value = `${source.value.trim() ? source.value.trimEnd() : "tests:"}\n${example(rule, source.value)}`;
    changed();
    source.focus();
    source.scrollTop = source.scrollHeight;
  }}, "Add a test");
  const element = h(
    "section",
    {class: "part", "aria-labelledby": "tests-title"},
    h("h2", {id: "tests-title"}, "Tests"),
    h("p", {id: "tests-about", class: "muted"}, "Series drawn as short strings, and what the rule must make of them: ", h("code", null, "1x20 1->0.1x60"), " is twenty readings of 1, then sixty that fall to 0.1. They are run by the code that judges runs."),
    h("details", {class: "past", open: editable}, h("summary", null, "Text of the tests"), h("label", {for: "tests-text", class: "hidden"}, "Tests, as YAML"), source, editable && h("div", {class: "actions"}, add)),
    summary,
    charts,
  );

  return {
    element,
    get text() {
      return source.value;
    },
    /** @param {PlayedTest[]} tests @param {Rule} of */
    show(tests, of) {
      rule = of;
      const failed = tests.filter(({passed}) => !passed).length;
      say(summary, tests.length === 0 ? "No tests yet." : failed === 0 ? `${plural(tests.length, "test")}, all as expected.` : `${plural(failed, "test")} of ${integer(tests.length)} not as expected.`);
      fill(charts, tests.map((test) => card(test, of)));
    },
    /** @param {string} why */
    wait(why) {
      say(summary, why);
      fill(charts);
    },
  };
}

/** @param {PlayedTest} test @param {Rule} rule */
function card(test, rule) {
  const lines = rule.derive || rule.joint ? [] : linesOf(rule.detector);
  return h(
    "article",
    {class: "card played-test", "data-passed": String(test.passed)},
    h("h3", null, icon(test.passed ? "fine" : "collapsing"), h("span", null, test.name), h("span", {class: `chip ${test.passed ? "chip-fine" : "chip-collapsing"}`}, test.passed ? "as expected" : "not as expected")),
    test.curves.map((curve, i) => ruleChart({curve, lines, states: i === 0 ? test.states : undefined, expected: i === 0 ? test.expected : undefined, title: curve.series})),
    h("p", {class: "muted"}, `Expected: ${expected(test)} Actual: ${told(test.states)}`),
    test.problems.length > 0 && h("ul", {class: "problems"}, test.problems.map((one) => h("li", {class: "problem"}, one))),
  );
}

/** @param {PlayedTest} test */
function expected({fires, resolves, expected: states}) {
  const when = (/** @type {PlayedTest["fires"]} */ one) => (one === "never" ? "never" : Array.isArray(one) ? `from step ${integer(one[0])} to ${integer(one[1])}` : `at step ${integer(one)}`);
  const parts = [fires !== null && `fires ${when(fires)}`, resolves !== null && `resolves ${when(resolves)}`, ...states.filter(({state}) => state !== "fires" && state !== "not firing").map(({first, last, state, severity}) => `${state}${severity ? ` (${severity})` : ""} ${first === last ? `at ${integer(first)}` : `from ${integer(first)} to ${integer(last)}`}`)];
  return `${parts.filter(Boolean).join(", ")}.`;
}

/** A test to begin from, of the first series that the rule names. @param {Rule | null} rule @param {string} text */
function example(rule, text) {
  const match = rule?.matches[0];
  const plain = (/** @type {string} */ glob) => !/[*?[\]{},=\s]/.test(glob);
  const labels = match && match.place !== "*" && match.place && plain(match.place) ? `{place=${match.place}}` : "";
  const key = match && plain(match.statistic) ? `${match.statistic}${labels}` : "reward_mean";
  const family = rule && match?.family !== "*" ? `, family: ${JSON.stringify(match?.family)}` : "";
  const indent = text.match(/^( *)-\s/m)?.[1] ?? "";
  const count = (text.match(/^\s*-\s+name:/gm) ?? []).length + 1;
  const lines = [`- name: test ${count}`, "  series:", `    ${JSON.stringify(key)}: {draw: "1x60"${family}}`, "  fires: never"];
  return lines.map((line) => `${indent}${line}\n`).join("");
}
