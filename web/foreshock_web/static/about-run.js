// @ts-check
// What a run was started with: its configuration, the machine and code of each attempt, and when those began and ended.

import {fileHref} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {duration, heading, moment, plural} from "./format.js";

/** @typedef {import("./types.js").Run} Run */

const SEARCHED = 12; // rows from which on there is something to search
const DEEPEST = 4; // levels of a configuration that have rows of their own

/**
 * Nested values by dotted names, as people write them on command lines.
 * @param {Record<string, unknown>} values
 * @param {string} [before]
 * @param {number} [depth]
 * @returns {[string, string][]}
 */
export function flat(values, before = "", depth = 1) {
  return Object.entries(values).flatMap(([name, value]) => {
    const key = before + name;
    const nested = typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 0 && depth < DEEPEST;
    if (nested) return flat(/** @type {Record<string, unknown>} */ (value), `${key}.`, depth + 1);
    return [/** @type {[string, string]} */ ([key, typeof value === "string" ? value : JSON.stringify(value) ?? "–"])];
  });
}

export class AboutRun {
  constructor() {
    /** @type {Run | null} */
    this.run = null;
    this.search = h("input", {type: "search", placeholder: "Search the configuration", "aria-label": "Search the configuration", oninput: () => this.run && this.show(this.run)});
    this.none = h("p", {class: "muted", hidden: true}, "Nothing here is called so.");
    this.parts = h("div", {class: "about-run"});
    this.count = h("span", {class: "muted"});
    this.files = h("p", {class: "muted"});
    this.element = h(
      "section",
      {class: "family"},
      h("details", null, h("summary", {class: "family-head"}, h("h3", null, "Configuration and environment"), this.count), h("div", {class: "series-tools"}, this.search), this.none, this.parts, this.files),
    );
  }

  /** @param {Run} run */
  show(run) {
    this.run = run;
    if (!this.files.hasChildNodes()) {
      const file = (/** @type {"report" | "export"} */ kind, /** @type {string} */ words) => h("a", {href: fileHref(run.id, kind), download: ""}, words);
      fill(this.files, "The whole run: ", file("report", "a report as one HTML file"), ", ", file("export", "every reading as Parquet"), ".");
    }
    const attempts = run.attempts ?? [];
    const config = flat(run.config ?? {});
    const environment = flat(attempts[attempts.length - 1]?.info ?? {});
    /** @type {[string, [string, string][]][]} */
    const parts = [
      ["run", [["id", run.id], ["begun", moment(run.created_at)]]],
      ["configuration", config],
      [attempts.length > 1 ? `environment of attempt ${attempts[attempts.length - 1].attempt}` : "environment", environment],
      ["attempts", attempts.length > 1 ? attempts.map((one) => [String(one.attempt), told(one)]) : []],
    ];
    this.search.parentElement?.toggleAttribute("hidden", config.length + environment.length < SEARCHED);
    say(this.count, plural(config.length, "value"));
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = parts.map(([title, rows]) => /** @type {const} */ ([title, rows.filter((row) => words.every((word) => row.join(" ").toLowerCase().includes(word)))])).filter(([, rows]) => rows.length > 0);
    this.none.hidden = found.length > 0;
    each(
      this.parts,
      found,
      ([title]) => title,
      ([title]) => h("div", null, h("h4", null, heading(title)), h("dl", {class: "config"})),
      (part, [, rows]) =>
        each(
          /** @type {Element} */ (part.lastElementChild),
          rows,
          ([key]) => key,
          ([key]) => h("div", null, h("dt", null, key), h("dd", null)),
          (row, [, value]) => say(/** @type {Element} */ (row.lastElementChild), value),
        ),
    );
  }
}

/** @param {import("./types.js").Attempt} one */
function told(one) {
  const lasted = one.finished_at === null ? "" : `, ${duration(one.finished_at - one.started_at)}`;
  const host = typeof one.info?.host === "string" ? ` on ${one.info.host}` : "";
  return `${one.state}, begun ${moment(one.started_at)}${lasted}${host}`;
}
