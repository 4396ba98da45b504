// @ts-check
// The rules in force: what each looks at, with which numbers, and what it tells people to do. To read, not to edit.

import {get} from "./api.js";
import {runbook} from "./alerts.js";
import {fill, h} from "./dom.js";
import {plural} from "./format.js";

/** @typedef {import("./app.js").Context} Context */

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showRules(root, {signal, title}) {
  title("Rules");
  const {packs} = await get("/rules", signal);
  fill(
    root,
    h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Rules"), h("p", {class: "count muted"}, `${plural(packs.length, "pack")}, read when the server starts`)),
    packs.map((/** @type {any} */ pack) => h("section", {class: "pack"}, h("h2", null, pack.title ?? pack.pack), pack.rules.map(rule))),
  );
}

/** @param {any} one */
function rule(one) {
  return h("article", {class: "card rule"}, h("h3", null, one.title ?? one.name), runbook(one.runbook));
}
