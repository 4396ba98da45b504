// @ts-check
// The parts of a rule that people change most, as fields. The text is the rule: a field shows what it says, and changes it there.

import {fill, h} from "./dom.js";

/** @typedef {import("./types.js").Rule} Rule */
/** @typedef {(path: (string | number)[], value: unknown) => Promise<void>} Set */

const WAITS = /** @type {const} */ ([
  ["for_steps", "A breach must last (steps)"],
  ["min_samples", "Readings needed"],
  ["warmup_steps", "Silent until step"],
  ["keep_firing_steps", "Well for, before it resolves (steps)"],
  ["cooldown_steps", "Silent after that (steps)"],
]);

/** @type {Record<string, {label: string, begin: Record<string, unknown>}>} what a detector of each kind begins as */
const KINDS = {
  below: {label: "below a level", begin: {kind: "threshold", below: 0.1, median: 5}},
  above: {label: "above a level", begin: {kind: "threshold", above: 1, median: 5}},
  band: {label: "outside a band", begin: {kind: "band", low: 0, high: 1, median: 5}},
  drop: {label: "a drop against its beginning", begin: {kind: "drop", against: "first", to: 0.5, median: 9, baseline_records: 32}},
  rise: {label: "a rise against its beginning", begin: {kind: "rise", against: "first", to: 2, median: 9, baseline_records: 32}},
  slope: {label: "a trend that is too steep", begin: {kind: "slope", below: -0.1}},
  spike: {label: "spikes", begin: {kind: "spike", z: 8, direction: "up"}},
  plateau: {label: "no more improvement", begin: {kind: "plateau", direction: "down", records: 500, least: 0.01}},
  change: {label: "any change", begin: {kind: "change"}},
  absence: {label: "nothing comes any more", begin: {kind: "absence", steps: 100}},
  "non-finite": {label: "NaN or infinity", begin: {kind: "non-finite"}},
  "forecast-drop": {label: "a forecast that falls", begin: {kind: "forecast-drop"}},
};

/** Which of them a detector is. @param {Record<string, unknown>} detector */
const kindOf = (detector) => (detector.kind === "threshold" ? (typeof detector.below === "number" ? "below" : "above") : String(detector.kind));

/** A number as people write it; null: it is none. @param {string} text */
export function numberIn(text) {
  const plain = text.trim().replace("\u2212", "-").replace(/,(?=\d{3}\b)/g, "");
  return plain !== "" && Number.isFinite(Number(plain)) ? Number(plain) : null;
}

/**
 * @param {{set: Set, fixedId: boolean, statistics: string[]}} options `fixedId`: the rule has its id for good
 */
export function ruleForm({set, fixedId, statistics}) {
  const known = h("datalist", {id: "known-statistics"}, statistics.map((name) => h("option", {value: name})));
  const off = h("p", {class: "muted", hidden: true}, "The fields are back as soon as the text can be read.");
  /** @param {string} id @param {string} label @param {(string | number)[]} path @param {Record<string, unknown>} [more] */
  const text = (id, label, path, more = {}) => {
    const input = h("input", {id, autocomplete: "off", spellcheck: "false", maxlength: 200, ...more, onchange: () => void set(path, input.value)});
    return {input, row: h("label", {for: id}, label, input)};
  };
  const title = text("rule-title", "Title", ["title"]);
  const id = text("rule-id", "Id", ["id"], {disabled: fixedId});
  const family = text("rule-family", "Family", ["family"]);
  const statistic = text("rule-statistic", "Statistic (*: any)", ["matches", 0, "statistic"], {list: "known-statistics"});
  const place = text("rule-place", "Place (*: any, empty: none)", ["matches", 0, "place"]);
  const severity = h("select", {id: "rule-severity", onchange: () => void set(["severity"], severity.value)}, h("option", {value: "warning"}, "warning"), h("option", {value: "critical"}, "critical"));
  const kind = h("select", {id: "rule-kind", onchange: () => void set(["detector"], KINDS[kind.value].begin)}, Object.entries(KINDS).map(([value, {label}]) => h("option", {value}, label)));
  const series = h("div", {class: "rule-fields"}, statistic.row, place.row);
  const joint = h("p", {class: "muted", hidden: true}, "A joint rule: what it is about stands in its text.");
  const numbers = h("div", {class: "rule-fields"});
  const waits = h("div", {class: "rule-fields"});
  let shape = "";
  const element = h(
    "fieldset",
    {class: "rule-form"},
    h("legend", {class: "hidden"}, "The rule"),
    off,
    known,
    h("div", {class: "rule-fields"}, title.row, id.row, family.row, h("label", {for: "rule-severity"}, "Severity", severity)),
    series,
    joint,
    h("div", {class: "rule-fields"}, h("label", {for: "rule-kind"}, "It fires on", kind)),
    numbers,
    h("details", {class: "past"}, h("summary", null, "Waits"), waits),
  );

  /** @param {string} name @param {string} label @param {(string | number)[]} path @param {number | null} least what is written when the field is emptied */
  function amount(name, label, path, least) {
    const input = h("input", {id: `rule-${name}`, "data-name": name, inputmode: "decimal", autocomplete: "off", onchange: () => {
      const value = input.value.trim() === "" ? least : numberIn(input.value);
      input.setCustomValidity(value === null && input.value.trim() !== "" ? "Write a number, such as 0.5." : "");
      if (input.reportValidity()) void set(path, value);
    }});
    return h("label", {for: `rule-${name}`}, label, input);
  }

  fill(waits, WAITS.map(([name, label]) => amount(name, label, [name], null)));

  return {
    element,
    /** @param {Rule | null} rule as the text has it; null: it cannot be read */
    show(rule) {
      off.hidden = rule !== null;
      element.disabled = rule === null;
      if (rule === null) return;
      put(title.input, rule.title);
      put(id.input, rule.id);
      put(family.input, rule.family);
      put(severity, rule.severity);
      series.hidden = rule.joint !== null;
      joint.hidden = rule.joint === null;
      put(statistic.input, rule.matches[0]?.statistic ?? "");
      put(place.input, rule.matches[0]?.place ?? "");
      put(kind, kindOf(rule.detector));
      const given = Object.entries(rule.detector).filter(([name, value]) => typeof value === "number" || (value === null && ["critical", "clear"].includes(name)));
      const now = JSON.stringify([rule.detector.kind, given.map(([name]) => name)]);
      if (now !== shape) {
        shape = now;
        fill(numbers, given.map(([name]) => amount(name, name.replaceAll("_", " "), ["detector", name], null)));
      }
      for (const [name, value] of given) put(/** @type {HTMLInputElement} */ (numbers.querySelector(`[data-name="${name}"]`)), value === null ? "" : String(value));
      for (const [name] of WAITS) put(/** @type {HTMLInputElement} */ (waits.querySelector(`[data-name="${name}"]`)), String(rule[name]));
    },
  };
}

/** What somebody is typing in stays. @param {HTMLInputElement | HTMLSelectElement} field @param {string} value */
function put(field, value) {
  if (document.activeElement !== field || field instanceof HTMLSelectElement) field.value = value;
}
