// @ts-check
// What every statistic means: formula, source, healthy and collapsed, cost, caveats. One card each, found by typing or by address.

import {get} from "./api.js";
import {fill, h, say} from "./dom.js";
import {heading, plural} from "./format.js";
import {FAMILIES} from "./order.js";

/** @typedef {import("./app.js").Context} Context */
/**
 * @typedef {object} Entry
 * @property {string} family
 * @property {string} title
 * @property {string} formula
 * @property {string} source
 * @property {string} degenerate
 * @property {string} healthy
 * @property {string} collapsed
 * @property {string} cost
 * @property {string} unit
 * @property {number | null} low
 * @property {number | null} high
 * @property {string} caveats
 * @property {string[]} needs
 * @property {string} merge
 * @property {string} undefined what is kept of a record without information
 */

/** @type {Record<string, string>} */
const MERGED = {
  sum: "summed over ranks",
  mean: "averaged over ranks, by the rows of each",
  max: "the largest of the ranks",
  min: "the smallest of the ranks",
  norm: "over ranks: root of the sum of squares",
  none: "of the first rank alone",
};

/**
 * @param {HTMLElement} root
 * @param {Context} context
 * @param {string} [wanted] the statistic to go to
 */
export async function showReference(root, {signal, title}, wanted) {
  title(wanted ? `${wanted} explained` : "Reference");
  /** @type {{statistics: Record<string, Entry>, costs: Record<string, string>}} */
  const {statistics, costs} = await get("/reference", signal);
  const names = Object.keys(statistics);
  const families = [...new Set([...FAMILIES, ...names.map((name) => statistics[name].family)])];
  const cards = new Map(names.map((name) => [name, card(name, statistics[name], costs)]));
  const count = h("p", {class: "count muted", role: "status"}, plural(names.length, "statistic"));
  const search = h("input", {type: "search", placeholder: "Name, formula, paper…", "aria-label": "Search the reference", autocomplete: "off"});
  const sections = families
    .map((family) => ({family, own: names.filter((name) => statistics[name].family === family)}))
    .filter(({own}) => own.length > 0)
    .map(({family, own}) => h("section", {class: "pack"}, h("h2", null, heading(family)), own.map((name) => cards.get(name) ?? null)));
  const none = h("p", {class: "muted", hidden: true}, "Nothing here says that. Try a shorter word.");

  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const [name, element] of cards) {
      const text = `${name} ${Object.values(statistics[name]).join(" ")}`.toLowerCase();
      element.hidden = !words.every((word) => text.includes(word));
      left += element.hidden ? 0 : 1;
    }
    for (const section of sections) section.hidden = !section.querySelector("details:not([hidden])");
    none.hidden = left > 0;
    say(count, plural(left, "statistic"));
  });

  fill(root, h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Reference"), search, count), sections, none);
  const chosen = wanted ? cards.get(wanted) : undefined;
  if (chosen) {
    chosen.open = true;
    chosen.scrollIntoView({block: "start"});
    chosen.querySelector("summary")?.focus({preventScroll: true});
  } else if (wanted) {
    fill(root, h("section", {class: "card failure"}, h("h1", {tabindex: -1}, `No statistic is called ${wanted}`), h("p", {class: "muted"}, "Numbers that a training loop logs by itself mean what it means by them."), h("p", null, h("a", {href: "/reference"}, "All statistics"))));
  }
}

/** @param {string} name @param {Entry} told @param {Record<string, string>} costs */
function card(name, told, costs) {
  return h(
    "details",
    {class: "card rule statistic", id: name},
    h("summary", {class: "rule-head"}, h("h3", null, told.title), h("code", {class: "muted"}, name), h("span", {class: "rule-kind"}, told.unit)),
    h("p", {class: "formula"}, h("code", null, told.formula)),
    h(
      "dl",
      {class: "explained"},
      fact("Healthy", told.healthy),
      fact("Collapsed", told.collapsed),
      told.caveats && fact("Mind", told.caveats),
      fact("Without information", told.undefined === "absent" && /NaN/.test(told.degenerate) ? `${told.degenerate}; a NaN of this kind is kept as no reading` : told.degenerate),
      fact("Range", range(told)),
      fact("Cost", costs[told.cost] ?? told.cost),
      told.needs.length > 0 && fact("Needs", told.needs.join(", ")),
      fact("Several ranks", MERGED[told.merge] ?? told.merge),
      fact("Source", told.source),
    ),
    h("p", {class: "source"}, h("a", {href: `/reference/${encodeURIComponent(name)}`}, "Link to this")),
  );
}

/** @param {string} label @param {string} text */
const fact = (label, text) => h("div", null, h("dt", null, label), h("dd", null, text));

/** @param {Entry} told */
function range({low, high, unit}) {
  const suffix = unit ? ` ${unit}` : "";
  if (low !== null && high !== null) return `${low} to ${high}${suffix}`;
  if (low !== null) return `from ${low}${suffix} upwards`;
  if (high !== null) return `up to ${high}${suffix}`;
  return unit ? `any, in ${unit}` : "any";
}
