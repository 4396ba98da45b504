// @ts-check
// Did it happen before? The earlier runs of the project in which the same rules fired, with a way to the last of them.

import {incidentHref, runHref} from "./api.js";
import {fill, h} from "./dom.js";
import {integer, plural} from "./format.js";

/** @typedef {import("./types.js").Earlier} Earlier */

/**
 * Write the answer, a line per rule.
 * @param {Element} list
 * @param {Earlier} earlier
 * @param {(rule: string) => string} title
 */
export function showEarlier(list, {runs, previous, rules}, title) {
  if (previous === null) {
    fill(list, h("li", null, "This is the first run of its project here: there is none to compare with."));
    return;
  }
  fill(
    list,
    Object.entries(rules).map(([rule, {fired, in_previous: again, last}]) => {
      const where = last === null ? "" : h("a", {href: last.number === null ? runHref(last.run) : incidentHref(last.run, last.number)}, `${last.name || last.run}, step ${integer(last.step)}`);
      return h(
        "li",
        null,
        h("strong", null, title(rule)),
        again ? ": also in the previous run, " : ": not in the previous run, ",
        again ? where : h("a", {href: runHref(previous.run)}, previous.name || previous.run),
        `. It fired in ${integer(fired)} of the last ${plural(runs, "run")}`,
        !again && last !== null ? [", last in ", where] : "",
        ".",
      );
    }),
  );
}
