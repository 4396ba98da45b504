// @ts-check
// The rules in force, by pack: what each looks at, with which numbers, and what it tells people to do. rule-editor.js shows one.

import {runbook} from "./alerts.js";
import {get, query, ruleHref} from "./api.js";
import {fill, h, say} from "./dom.js";
import {heading, number, plural} from "./format.js";
import {FAMILIES} from "./order.js";

/** @typedef {import("./types.js").Rule} Rule */
/** @typedef {import("./types.js").Match} Match */
/** @typedef {import("./types.js").RuleVersion} RuleVersion */
/** @typedef {import("./app.js").Context} Context */

const WAITS = /** @type {const} */ (["for_steps", "min_samples", "warmup_steps", "keep_firing_steps", "cooldown_steps"]);
const RESTS_ON = {definition: "what the number is", paper: "a paper", measurement: "measurements", heuristic: "judgement"};

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showRules(root, {signal, title}) {
  title("Rules");
  /** @type {[{rules: Rule[]}, {rules: RuleVersion[]}]} */
  const [{rules}, own] = await Promise.all([get("/rules", signal), get("/rules/own?deleted=true", signal)]);
  const count = h("p", {class: "count muted", role: "status"});
  const which = h("select", {id: "rules-pack", onchange: show});
  const search = h("input", {type: "search", "aria-label": "Search the rules", placeholder: "Title, statistic, id…", autocomplete: "off", oninput: show});
  const packs = [...new Set(rules.map(packOf))].sort((a, b) => Number(b.startsWith("yours")) - Number(a.startsWith("yours")) || a.localeCompare(b));
  fill(which, h("option", {value: ""}, "All packs"), packs.map((name) => h("option", {value: name}, name)));
  which.value = new URLSearchParams(location.search).get("pack") ?? "";
  const list = h("div", {class: "packs"});
  const broken = own.rules.filter(({problem}) => problem !== null);
  const gone = own.rules.filter(({kind}) => kind === "deleted");
  const mine = own.rules.length - gone.length;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = rules.filter((rule) => (which.value === "" || packOf(rule) === which.value) && words.every((word) => `${rule.id} ${rule.title} ${rule.family} ${about(rule)}`.toLowerCase().includes(word)));
    const here = shown.filter(({own: made}) => made !== null);
    const families = [...new Set([...FAMILIES, ...shown.map((rule) => rule.family)])];
    say(count, `${plural(shown.length, "rule")} in force${mine > 0 ? `, ${mine} made here` : ""}`);
    history.replaceState(null, "", `/rules${query({pack: which.value})}${location.hash}`);
    fill(
      list,
      here.length > 0 && section("Made here", here),
      families.map((family) => [heading(family), shown.filter((rule) => rule.family === family && rule.own === null)]).filter(([, some]) => some.length > 0).map(([name, some]) => section(String(name), /** @type {Rule[]} */ (some))),
      shown.length === 0 && h("p", {class: "muted"}, "No rule says that. Try a shorter word, or all packs."),
    );
  }

  fill(
    root,
    h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Rules"), count, h("label", {for: "rules-pack", class: "hidden"}, "Pack"), which, search, mine > 0 && h("a", {class: "button", href: "/api/v1/rules/export", download: "rules.yaml"}, "Export yours"), h("a", {class: "button primary", href: "/rules/new"}, "New rule")),
    broken.map(({rule, problem}) => h("p", {class: "problem"}, h("a", {href: ruleHref(rule)}, rule), ` is not in force: ${problem}`)),
    list,
    gone.length > 0 && h("details", {class: "past"}, h("summary", null, `Deleted (${gone.length})`), h("ul", {class: "rule-links"}, gone.map(({rule}) => h("li", null, h("a", {href: ruleHref(rule)}, rule))))),
  );
  show();
}

/** @param {string} name @param {Rule[]} rules */
const section = (name, rules) => h("section", {class: "pack"}, h("h2", null, name), rules.map(card));

/** The name that its pack is listed under. @param {Rule} rule */
const packOf = ({own, origin, pack}) => (own ? (pack === "yours" ? pack : `yours: ${pack}`) : origin === "built-in" ? pack : `${pack} (${origin.split("/").pop()})`);

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
    h("p", {class: "source"}, rule.own ? `Made here${rule.own.project === null ? "" : `, for ${rule.own.project} alone`}${rule.own.replaces === null ? "" : `, instead of ${rule.own.replaces}`}.` : rule.origin === "built-in" ? `Comes with Foreshock, in the pack ${rule.pack}.` : `From ${rule.origin}.`),
    h("p", {class: "rule-links"}, h("a", {href: ruleHref(rule.id)}, rule.own ? "Change it, try it, its history" : "Its text, its tests, try it"), h("a", {href: `/rules/new${query({copy: rule.id})}`}, "Copy")),
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
