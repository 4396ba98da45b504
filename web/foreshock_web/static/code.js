// @ts-check
// Lines of Python to take along: shown in a dialog, copied with one button.

import {h} from "./dom.js";

/**
 * @param {string} title
 * @param {string} lines
 */
export function showCode(title, lines) {
  const code = h("code", null, lines);
  const {button: copy, said} = copier(code);
  const dialog = h(
    "dialog",
    {class: "dialog", "aria-label": title},
    h("h2", null, title),
    h("pre", {class: "code", tabindex: 0}, code),
    h("div", {class: "dialog-foot"}, said, h("button", {type: "button", onclick: () => dialog.close()}, "Close"), copy),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  copy.focus();
}

/**
 * A button that copies what an element says, and where it tells what became of it.
 * @param {HTMLElement} code
 */
export function copier(code) {
  const said = h("span", {class: "said", role: "status"});
  const button = h("button", {type: "button", class: "primary", onclick: () => void take()}, "Copy");

  async function take() {
    try {
      await navigator.clipboard.writeText(code.textContent ?? "");
      said.textContent = "Copied.";
    } catch {
      // without https a browser refuses the clipboard: select the text, so that one key copies it
      window.getSelection()?.selectAllChildren(code);
      said.textContent = "Selected: copy it with Ctrl+C.";
    }
  }

  return {button, said};
}

/**
 * The lines that open a run, a figure or a series in a notebook.
 * @param {string} run
 * @param {string} [figure]
 * @param {string} [key]
 */
export function notebookLines(run, figure, key) {
  const client = `import foreshock\n\nrun = foreshock.Client(${JSON.stringify(location.origin)}).run(${JSON.stringify(run)})\n`;
  if (key) return `${client}run.series(${JSON.stringify(key)}).to_pandas()`;
  if (figure) return `${client}run.figure(${JSON.stringify(figure)})`;
  return `${client}run.figure("policy-entropy")               # the figure on the page\nrun.series("policy_entropy").to_pandas()   # its numbers\nrun.alerts()`;
}

export const KEY = "the-key"; // stands for one that is not known here

/**
 * The lines of a first run, for a shell and for the training script. Pure.
 * @param {string} origin this server as the browser reaches it, through whatever stands between
 * @param {Pick<import("./types.js").Session, "needed" | "project">} session
 * @param {string} [key] as it was made just now
 * @returns {{shell: string, script: string}}
 */
export function firstLines(origin, {needed, project}, key = KEY) {
  const shell = ["pip install foreshock", ...(needed ? [`export FORESHOCK_API_KEY=${key}`] : [])];
  const script = [
    "import foreshock",
    "",
    `run = foreshock.init(project=${JSON.stringify(project ?? "my-project")}, url=${JSON.stringify(origin)})`,
    "run.watch(model)",
    "for batch in loader:",
    "    ...",
    "    run.observe.policy(logits, mask=mask, rewards=rewards, groups=groups)",
    "    run.log(loss=loss)",
    "    run.step()",
    "run.finish()",
  ];
  return {shell: shell.join("\n"), script: script.join("\n")};
}
