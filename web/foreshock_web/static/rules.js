// @ts-check
// The rules in force: what each looks at, with which numbers, and what it tells people to do. To read, not to edit.

import {runbook} from "./alerts.js";
import {get} from "./api.js";
import {fill, h} from "./dom.js";
import {heading, number, plural} from "./format.js";
import {FAMILIES} from "./order.js";

/** @typedef {import("./types.js").Rule} Rule */
/** @typedef {import("./types.js").Match} Match */
/** @typedef {import("./app.js").Context} Context */

const WAITS = /** @type {const} */ (["for_steps", "min_samples", "warmup_steps", "keep_firing_steps", "cooldown_steps"]);
const RESTS_ON = {definition: "what the number is", paper: "a paper", measurement: "measurements", heuristic: "judgement"};

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showRules(root, {signal, title}) {
  title("Rules");
  /** @type {{rules: Rule[]}} */
  const {rules} = await get("/rules", signal);
  const families = [...new Set([...FAMILIES, ...rules.map((rule) => rule.family)])].filter((family) => rules.some((rule) => rule.family === family));
  fill(
    root,
    h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Rules"), h("p", {class: "count muted"}, `${plural(rules.length, "rule")} in force`)),
    families.map((family) => h("section", {class: "pack"}, h("h2", null, heading(family)), rules.filter((rule) => rule.family === family).map(card))),
  );
}

/** @param {Rule} rule */
function card(rule) {
  return h(
    "details",
    {class: "card rule", id: rule.id},
    h(
      "summary",
      {class: "rule-head"},
      h("h3", null, rule.title),
      h("span", {class: "muted"}, about(rule)),
      h("span", {class: "rule-kind"}, rule.detector.kind),
    ),
    runbook(rule.runbook),
    h("div", null, h("h4", null, "Numbers"), h("dl", {class: "facts"}, Object.entries({...rule.derive, other: undefined, within_steps: rule.joint?.within_steps, ...rule.detector, ...waits(rule)}).filter(([, value]) => value !== null && value !== undefined).map(fact))),
    h("p", {class: "source"}, `Its levels rest on ${RESTS_ON[rule.basis]}. ${rule.source}`),
    h("p", {class: "source"}, rule.origin === "built-in" ? "Comes with Foreshock." : `From ${rule.origin}.`),
  );
}

/** @param {[string, unknown]} pair */
const fact = ([name, value]) => h("div", null, h("dt", null, name), h("dd", null, typeof value === "number" ? number(value) : String(value)));

/** The waits that are not nothing. @param {Rule} rule */
const waits = (rule) => Object.fromEntries(WAITS.filter((name) => rule[name] > (name === "min_samples" ? 1 : 0)).map((name) => [name, rule[name]]));

/** What a rule looks at: series, series beside others, or what other rules say. @param {Rule} rule */
function about({matches, derive, joint}) {
  const series = matches.map(matched).join(", ");
  if (derive) return `${derive.kind} of ${series}${derive.other ? ` and ${matched(derive.other)}` : ""}`;
  if (!joint) return series;
  const said = /** @type {const} */ (["all", "any", "sequence"]).find((way) => joint[way].length > 0) ?? "any";
  return `${said} of ${joint[said].map(({rule, family}) => (rule === "*" ? `family ${family}` : rule)).join(", ")}`;
}

/** The series that fit, in words. @param {Match} match */
function matched({statistic, place, labels}) {
  const further = [place !== "*" && place ? `place=${place}` : "", ...Object.entries(labels).map(([name, value]) => `${name}=${value}`)].filter(Boolean);
  return further.length > 0 ? `${statistic}{${further.join(",")}}` : statistic;
}
