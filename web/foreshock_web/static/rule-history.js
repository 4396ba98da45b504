// @ts-check
// Every change of a rule: who, when, why, what; and the way back to an earlier one.

import {path, post} from "./api.js";
import {difference} from "./diff.js";
import {fill, h, say} from "./dom.js";
import {moment} from "./format.js";

/** @typedef {import("./types.js").RuleVersion} RuleVersion */

/**
 * @param {RuleVersion[]} history the latest first
 * @param {{mayWrite: boolean, restored: () => Promise<void>}} options
 */
export function ruleHistory(history, {mayWrite, restored}) {
  return h(
    "section",
    {class: "part", "aria-labelledby": "history-title"},
    h("h2", {id: "history-title"}, "History"),
    h("ol", {class: "versions"}, history.map((one, i) => version(one, history[i + 1], i === 0, mayWrite, restored))),
  );
}

/** @param {RuleVersion} one @param {RuleVersion | undefined} before @param {boolean} latest @param {boolean} mayWrite @param {() => Promise<void>} restored */
function version(one, before, latest, mayWrite, restored) {
  const problem = h("p", {class: "problem", role: "alert"});
  const again = h("button", {
    type: "button",
    "aria-label": `Restore version ${one.version}`,
    onclick: async () => {
      again.disabled = true;
      say(problem, "");
      try {
        await post(path`/rules/own/${one.rule}/restore`, {version: one.version});
        await restored();
      } catch (error) {
        say(problem, error instanceof Error ? error.message : String(error));
      } finally {
        again.disabled = false;
      }
    },
  }, "Restore");
  const body = h("div", {class: "version-body"});
  const details = h(
    "details",
    {class: "card version", ontoggle: () => details.open && body.childElementCount === 0 && fill(body, changes(one, before))},
    h("summary", null, h("strong", null, `Version ${one.version}`), ` ${one.kind} by ${one.made_by}, ${moment(one.made_at)}`, one.note && h("span", {class: "muted"}, ` · ${one.note}`)),
    body,
    mayWrite && (!latest || one.kind === "deleted") && one.kind !== "deleted" ? h("div", {class: "actions"}, again) : null,
    problem,
  );
  return h("li", null, details);
}

/** @param {RuleVersion} one @param {RuleVersion | undefined} before */
function changes(one, before) {
  const about = /** @type {const} */ ([["project", "only project"], ["pack", "pack"], ["replaces", "instead of"]])
    .filter(([name]) => before && before[name] !== one[name])
    .map(([name, word]) => h("p", {class: "muted"}, `${word}: ${before?.[name] ?? "–"} → ${one[name] ?? "–"}`));
  return [
    ...about,
    ...lines("Rule", before?.text ?? "", one.text),
    ...lines("Tests", before?.tests ?? "", one.tests),
    before && about.length === 0 && before.text === one.text && before.tests === one.tests ? h("p", {class: "muted"}, "The text is the same.") : null,
  ];
}

/** @param {string} title @param {string} before @param {string} after */
function lines(title, before, after) {
  const found = difference(before, after);
  if (found.length === 0) return [];
  const signs = {same: " ", out: "\u2212", in: "+", gap: " "};
  return [
    h("h4", null, title),
    h("pre", {class: "code diff", tabindex: 0}, found.map(({kind, text}) => h("span", {class: `diff-${kind}`}, `${signs[kind]} ${text}\n`))),
  ];
}
