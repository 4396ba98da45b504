// @ts-check
// What people wrote about a run: plain text, read as it stands, changed in place.

import {changeRuns} from "./api.js";
import {fill, h, say} from "./dom.js";
import {moment} from "./format.js";

/** @typedef {import("./types.js").Run} Run */

const LONGEST = 20_000;

export class Note {
  /** @param {string} run @param {() => Promise<unknown>} changed shows the run as it is now */
  constructor(run, changed) {
    this.run = run;
    this.changed = changed;
    this.text = "";
    this.said = h("p", {class: "note-text"});
    this.who = h("p", {class: "muted note-who"});
    this.edit = h("button", {type: "button", onclick: () => this.#open()}, "Write a note");
    this.area = h("textarea", {class: "note-area", rows: 5, maxlength: LONGEST, "aria-label": "Note, plain text", onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event)});
    this.problem = h("p", {class: "problem", role: "alert"});
    this.save = h("button", {type: "submit", class: "primary"}, "Save");
    this.form = h(
      "form",
      {
        class: "note-form",
        hidden: true,
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void this.#send();
        },
      },
      this.area,
      h("div", {class: "note-tools"}, this.save, h("button", {type: "button", onclick: () => this.#close()}, "Cancel"), h("span", {class: "muted"}, "Ctrl+Enter saves, Esc leaves it as it was")),
      this.problem,
    );
    this.element = h("section", {class: "card note", "aria-labelledby": "note-title"}, h("div", {class: "note-head"}, h("h2", {id: "note-title"}, "Note"), this.edit), this.said, this.who, this.form);
  }

  /** @param {Run} run */
  show({note, note_by: by, note_at: at}) {
    this.text = note ?? "";
    say(this.said, this.text);
    this.said.hidden = this.text === "" || !this.form.hidden;
    say(this.who, at ? `${this.text === "" ? "Taken away" : "Written"}${by ? ` by ${by}` : ""}, ${moment(at)}` : "");
    this.who.hidden = !at || !this.form.hidden;
    say(this.edit, this.text === "" ? "Write a note" : "Edit");
  }

  #open() {
    this.area.value = this.text;
    fill(this.problem);
    this.#turn(true);
    this.area.focus();
  }

  #close() {
    this.#turn(false);
    this.edit.focus();
  }

  /** @param {boolean} editing */
  #turn(editing) {
    this.form.hidden = !editing;
    this.edit.hidden = editing;
    this.said.hidden = editing || this.text === "";
    this.who.hidden = editing || this.who.textContent === "";
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") this.#close();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void this.#send();
    else return;
    event.preventDefault();
  }

  async #send() {
    this.save.disabled = true;
    try {
      await changeRuns([this.run], {note: this.area.value});
      await this.changed();
      this.#close();
    } catch (error) {
      say(this.problem, error instanceof Error ? error.message : String(error));
    } finally {
      this.save.disabled = false;
    }
  }
}
