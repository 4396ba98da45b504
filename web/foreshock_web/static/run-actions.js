// @ts-check
// What can be done with the chosen runs: compare, tag, archive, delete. Each can be taken back with one press.

import {ApiError, changeRuns, compareHref, path, remove} from "./api.js";
import {sure} from "./confirm.js";
import {fill, h, say} from "./dom.js";
import {plural} from "./format.js";

/** @typedef {import("./types.js").ListedRun} Run */
/** @typedef {import("./types.js").ChangeOfRuns} Change */

export const MOST_COMPARED = 20;
const OFFERED = 20_000; // milliseconds for which taking back is offered; the trash keeps longer

/**
 * @param {{
 *   runs: () => Run[],
 *   shelf: () => string,
 *   known: () => string[],
 *   clear: () => void,
 *   done: () => Promise<void>,
 *   signal: AbortSignal,
 * }} options `runs`: the chosen ones; `known`: tags in use; `done`: something changed
 */
export function actions({runs, shelf, known, clear, done, signal}) {
  const count = h("span", {class: "chosen-count", role: "status"});
  const compare = h("a", {class: "button primary", href: "/compare"}, "Compare");
  const label = h("button", {type: "button", onclick: () => void tag()}, "Tag");
  const archive = h("button", {type: "button", onclick: () => void put_aside()}, "Archive");
  const trash = h("button", {type: "button", class: "danger", onclick: () => void discard()}, "Delete");
  const none = h("button", {type: "button", class: "quiet", onclick: clear}, "Clear");
  const bar = h("div", {class: "bulk", role: "region", "aria-label": "Chosen runs", hidden: true}, count, compare, label, archive, trash, none);
  const toast = h("div", {class: "toast", role: "status"});
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));

  function show() {
    const chosen = runs();
    bar.hidden = chosen.length === 0;
    say(count, `${plural(chosen.length, "run")} chosen`);
    const some = chosen.slice(0, MOST_COMPARED).map((run) => run.id);
    compare.setAttribute("href", compareHref(some));
    compare.hidden = shelf() === "trash" || chosen.length < 2;
    compare.textContent = chosen.length > MOST_COMPARED ? `Compare the first ${MOST_COMPARED}` : "Compare";
    label.hidden = shelf() === "trash";
    say(archive, shelf() === "" ? "Archive" : shelf() === "trash" ? "Put back" : "Unarchive");
    say(trash, shelf() === "trash" ? "Delete for good" : "Delete");
  }

  /**
   * @param {string} said of what was done
   * @param {Change} change
   * @param {(run: Run) => Change} back undoes it for one of them
   */
  async function change(said, change, back) {
    const chosen = runs();
    try {
      const changed = await changeRuns(chosen.map((run) => run.id), change);
      clear();
      await done();
      tell(`${plural(changed.length, "run")} ${said}.`, async () => {
        /** @type {Map<string, string[]>} runs that are taken back alike */
        const alike = new Map();
        for (const run of chosen.filter((one) => changed.includes(one.id))) {
          const how = JSON.stringify(back(run));
          alike.set(how, [...(alike.get(how) ?? []), run.id]);
        }
        for (const [how, ids] of alike) await changeRuns(ids, JSON.parse(how));
        await done();
        tell(`${plural(changed.length, "run")} as before.`);
      });
    } catch (error) {
      tell(error instanceof ApiError ? error.message : String(error));
    }
  }

  async function put_aside() {
    if (shelf() === "trash") await change("put back", {trashed: false}, () => ({trashed: true}));
    else if (shelf() === "archived") await change("no longer archived", {archived: false}, () => ({archived: true}));
    else await change("archived", {archived: true}, () => ({archived: false}));
  }

  async function discard() {
    if (shelf() !== "trash") {
      await change("deleted", {trashed: true}, () => ({trashed: false}));
      return;
    }
    const chosen = runs();
    if (!(await sure(`Delete ${plural(chosen.length, "run")} for good?`, "Their readings, alerts and figures are gone at once. This cannot be taken back.", "Delete for good"))) return;
    try {
      for (const run of chosen) await remove(path`/runs/${run.id}`);
      tell(`${plural(chosen.length, "run")} deleted for good.`);
    } catch (error) {
      tell(error instanceof ApiError ? error.message : String(error));
    }
    clear();
    await done();
  }

  async function tag() {
    const chosen = runs();
    const wanted = await askForTags(chosen, known());
    if (!wanted) return;
    const {add, drop, owner} = wanted;
    if (add.length === 0 && drop.length === 0 && owner === null) return;
    const whose = (/** @type {string | null} */ name) => (owner === null ? {} : {owner: name ?? ""});
    await change("changed", {add_tags: add, remove_tags: drop, ...whose(owner)}, (run) => ({
      add_tags: drop.filter((one) => run.tags.includes(one)),
      remove_tags: add.filter((one) => !run.tags.includes(one)),
      ...whose(run.owner),
    }));
  }

  /** @param {string} text @param {() => Promise<void>} [undo] */
  function tell(text, undo) {
    clearTimeout(timer);
    fill(toast, h("span", null, text), undo && h("button", {type: "button", onclick: () => void undo().catch((error) => tell(String(error.message)))}, "Undo"));
    timer = setTimeout(() => fill(toast), OFFERED);
  }

  return {bar, toast, show};
}

/**
 * Which tags to put on and to take off, and whose the runs are; null: nothing.
 * @param {Run[]} runs
 * @param {string[]} known
 * @returns {Promise<{add: string[], drop: string[], owner: string | null} | null>}
 */
function askForTags(runs, known) {
  return new Promise((resolve) => {
    const there = [...new Set(runs.flatMap((run) => run.tags))].sort();
    const words = h("datalist", {id: "known-tags"}, known.map((name) => h("option", {value: name})));
    const input = h("input", {type: "text", list: "known-tags", maxlength: 400, autocomplete: "off", placeholder: "baseline, ablation"});
    const owner = h("input", {type: "text", maxlength: 100, autocomplete: "off", placeholder: "as it is"});
    const boxes = there.map((name) => h("input", {type: "checkbox", checked: true, value: name}));
    const dialog = h(
      "dialog",
      {class: "dialog tag-dialog", "aria-label": "Tags and owner"},
      h("h2", null, `Tags and owner of ${plural(runs.length, "run")}`),
      h(
        "form",
        {method: "dialog"},
        h("label", null, "Add tags, with commas between them", input, words),
        there.length > 0 && h("fieldset", null, h("legend", null, "Keep"), boxes.map((box) => h("label", {class: "keep"}, box, box.value))),
        h("label", null, "Owner", owner),
        h("div", {class: "dialog-foot"}, h("button", {value: "no", formnovalidate: true}, "Cancel"), h("button", {value: "yes", class: "primary"}, "Save")),
      ),
    );
    // Enter in a field presses the first button of a form, which must not be the one that drops what was typed.
    for (const field of [input, owner]) {
      field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        dialog.close("yes");
      });
    }
    dialog.addEventListener("close", () => {
      const add = input.value.split(",").map((part) => part.trim().slice(0, 64)).filter(Boolean);
      const drop = boxes.filter((box) => !box.checked).map((box) => box.value);
      resolve(dialog.returnValue === "yes" ? {add: [...new Set(add)], drop, owner: owner.value.trim() || null} : null);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
