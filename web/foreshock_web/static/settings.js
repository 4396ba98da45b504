// @ts-check
// Settings: where alerts go, who may come in, how long runs are kept. Each part is there for the keys that may change it.

import {channels} from "./channels.js";
import {fill, h} from "./dom.js";
import {keys} from "./keys.js";
import {projects} from "./projects.js";

/** @typedef {import("./app.js").Context} Context */

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showSettings(root, {signal, title}) {
  title("Settings");
  const parts = [channels(signal), keys(signal), projects(signal)];
  fill(root, h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Settings")), parts.map(({element}) => element));
  await Promise.all(parts.map(({load}) => load()));
}
