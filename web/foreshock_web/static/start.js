// @ts-check
// What an empty server shows: the lines to add to a training loop, with this server's address.

import {h} from "./dom.js";

/** @returns {HTMLElement} */
export function start() {
  const lines = [
    "import foreshock",
    "",
    `run = foreshock.init(project="my-project", url=${JSON.stringify(location.origin)})`,
    "run.watch(model)",
    "for batch in loader:",
    "    ...",
    "    run.observe.policy(logits, mask=mask, rewards=rewards, groups=groups)",
    "    run.log(loss=loss)",
    "    run.step()",
    "run.finish()",
  ].join("\n");
  return h(
    "section",
    {class: "card start"},
    h("h2", null, "No runs yet"),
    h("p", null, "Add these lines to a training loop. The run appears here with its first steps; this page needs no reload."),
    h("pre", {class: "code", tabindex: 0}, h("code", null, lines)),
    h("p", {class: "muted"}, "No training at hand? ", h("code", null, "foreshock demo"), " trains two small models: one whose policy entropy collapses, and its healthy twin."),
  );
}
