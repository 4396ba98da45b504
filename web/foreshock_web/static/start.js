// @ts-check
// What an empty server shows: the lines to paste, with this server's address and key; with the first steps of a run, that run.

import {get, post, runHref} from "./api.js";
import {copier, firstLines, KEY} from "./code.js";
import {fill, h, say} from "./dom.js";
import {follow} from "./live.js";

/** @typedef {import("./types.js").Session} Session */

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

class FirstRun extends HTMLElement {
  constructor() {
    super();
    /** @type {Session} */
    this.session = {needed: false, open: true, scopes: [], project: null};
    this.leave = new AbortController();
    this.shell = h("code", null);
    this.script = h("code", null);
    this.key = h("div", {class: "start-key"});
    this.problem = h("p", {class: "problem", role: "alert"});
    this.first = h("a", {hidden: true}); // followed by the frame like any link
  }

  connectedCallback() {
    this.leave = new AbortController();
    const {signal} = this.leave;
    const remote = LOOPBACK.test(location.hostname) ? h("p", {class: "muted"}, "This address reaches the server from this machine alone. Training elsewhere? ", h("code", null, "foreshock serve --host 0.0.0.0"), " listens to others, with a key, and a run needs the address by which it reaches this machine.") : null;
    fill(
      this,
      h(
        "section",
        {class: "card start"},
        h("h2", null, "No runs yet"),
        h("p", null, "Paste these lines. With its first steps the run is shown here; this page needs no reload."),
        block("In a shell", this.shell),
        this.key,
        this.problem,
        block("In a training loop", this.script),
        remote,
        h("p", {class: "muted"}, "No training at hand? ", h("code", null, "foreshock demo"), " trains two small models: one whose policy entropy collapses, and its healthy twin."),
        this.first,
      ),
    );
    this.tell();
    void this.ask(signal);
    follow("/live", {
      signal,
      onState: () => {}, // the list says when the server is away
      onReturn: () => void this.look(signal),
      onChange: (change) => change.last_step !== null && change.state !== "deleted" && this.open(change.run),
    });
  }

  disconnectedCallback() {
    this.leave.abort();
  }

  /** @param {string} [key] */
  tell(key) {
    const {shell, script} = firstLines(location.origin, this.session, key);
    say(this.shell, shell);
    say(this.script, script);
  }

  /** Whether a key is needed, and who may make one. @param {AbortSignal} signal */
  async ask(signal) {
    try {
      this.session = await get("/session", signal);
    } catch {
      return; // the lines stand without it
    }
    this.tell();
    if (!this.session.needed) return;
    if (this.session.scopes.includes("admin") && this.session.project === null) {
      const make = h("button", {type: "button", onclick: () => void this.make(make)}, "Make a key for training");
      fill(this.key, make, h("span", {class: "muted"}, " It may send readings, and nothing else. It is shown here, this once."));
    } else {
      fill(this.key, h("p", {class: "muted"}, "Put a key that may send in the place of ", h("code", null, KEY), ". Whoever runs this server makes one: ", h("code", null, "foreshock keys create NAME --scope ingest"), "."));
    }
  }

  /** @param {HTMLButtonElement} button */
  async make(button) {
    button.disabled = true;
    say(this.problem, "");
    try {
      const made = await post("/keys", {name: "training", scopes: ["ingest"], project: null});
      this.tell(made.key);
      fill(this.key, h("p", {class: "muted", role: "status"}, "The key stands in the line above. Settings lists it, and revokes it."));
    } catch (error) {
      say(this.problem, error instanceof Error ? error.message : String(error));
      button.disabled = false;
    }
  }

  /** Hints may have been missed while the server was away. @param {AbortSignal} signal */
  async look(signal) {
    try {
      const {runs} = await get("/runs?limit=1", signal);
      if (runs.length > 0 && runs[0].last_step !== null) this.open(runs[0].id);
    } catch {
      // the next return looks again
    }
  }

  /** Go to the run that has begun. @param {string} run */
  open(run) {
    if (this.leave.signal.aborted) return;
    this.leave.abort();
    this.first.href = runHref(run);
    this.first.click();
  }
}

customElements.define("first-run", FirstRun);

/** @returns {HTMLElement} */
export const start = () => document.createElement("first-run");

/** @param {string} what @param {HTMLElement} code */
function block(what, code) {
  const {button, said} = copier(code);
  return h("div", {class: "start-lines"}, h("div", {class: "start-head"}, h("h3", null, what), said, button), h("pre", {class: "code", tabindex: 0}, code));
}
