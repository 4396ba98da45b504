// @ts-check
// What fires, what fired, and what to do about it.

import {incidentHref} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {heading, integer, plural, quantity, sentence} from "./format.js";
import {icon} from "./icons.js";

/** @typedef {import("./types.js").Alert} Alert */
/** @typedef {import("./types.js").Incident} Incident */
/** @typedef {import("./types.js").Runbook} Runbook */
/** @typedef {import("./types.js").Transition} Transition */
/** @typedef {import("./types.js").Remedy} Remedy */

const AT_ONCE = 4; // the worst; one cause often fires at many places

/** The verdict's word for a severity. @param {string} severity */
export const verdictOf = (severity) => (severity === "critical" ? "collapsing" : "watch");

/** Where an alert is on the page. @param {Pick<Alert, "rule" | "series">} alert */
const keyOf = (alert) => `${alert.rule} ${alert.series}`;

export class AlertList {
  constructor() {
    this.firing = h("div", {class: "alerts"});
    this.further = h("div", {class: "alerts"});
    this.furtherCount = h("summary", null);
    this.rest = h("details", {class: "past", hidden: true}, this.furtherCount, this.further);
    this.earlier = h("ol", {class: "history"});
    this.summary = h("summary", null);
    this.past = h("details", {class: "past", hidden: true}, this.summary, this.earlier);
    this.quiet = h("p", {class: "muted"});
    this.incidents = h("ul", {class: "alert-incidents"});
    this.element = h(
      "section",
      {class: "card", hidden: true, "aria-labelledby": "alerts-title"},
      h("h2", {id: "alerts-title"}, "Alerts"),
      this.incidents,
      this.quiet,
      this.firing,
      this.rest,
      this.past,
    );
  }

  /**
   * @param {{alerts: Alert[], transitions: Transition[]}} answer alerts in the order in which they should be read
   * @param {Incident[]} incidents of the run: where its alerts are acknowledged and silenced
   */
  show({alerts, transitions}, incidents) {
    each(
      this.incidents,
      incidents.filter((incident) => incident.state === "open"),
      (incident) => String(incident.number),
      (incident) => h("li", null, h("a", {href: incidentHref(incident.run, incident.number)}, `Acknowledge or silence: ${heading(incident.family)}`), h("span", {class: "muted"})),
      (item, incident) => say(/** @type {Element} */ (item.lastElementChild), incident.acknowledged_at === null ? "" : ` acknowledged by ${incident.acknowledged_by}`),
    );
    const current = alerts.filter((alert) => alert.state !== "ok");
    each(this.firing, current.slice(0, AT_ONCE), keyOf, makeAlert, updateAlert);
    each(this.further, current.slice(AT_ONCE), keyOf, makeAlert, updateAlert);
    this.rest.hidden = current.length <= AT_ONCE;
    say(this.furtherCount, `${integer(current.length - AT_ONCE)} more`);
    this.quiet.hidden = current.length > 0;
    say(this.quiet, "Nothing fires now.");
    this.element.hidden = current.length + transitions.length === 0; // then the banner has said it
    const newestFirst = [...transitions].reverse();
    this.past.hidden = newestFirst.length === 0;
    say(this.summary, `History (${plural(newestFirst.length, "change")})`);
    each(
      this.earlier,
      newestFirst,
      (change) => `${keyOf(change)} ${change.episode} ${change.kind}`,
      (change) =>
        h(
          "li",
          {class: `change change-${change.kind}`},
          icon(change.kind === "resolved" ? "fine" : verdictOf(change.severity)),
          h("span", {class: "num"}, `step ${integer(change.step)}`),
          h("span", null, h("strong", null, change.title), ` ${change.kind}`, h("span", {class: "muted"}, ` · ${change.series}`)),
        ),
      () => {},
    );
  }
}

/** @param {Alert} alert */
function makeAlert(alert) {
  const card = h(
    "details",
    {class: "alert", ontoggle: () => card.open && card.scrollIntoView({block: "nearest"})},
    h(
      "summary",
      {class: "alert-head"},
      h("span", {class: "alert-icon"}),
      h("span", {class: "alert-message"}),
      h("span", {class: "chip"}),
      h("span", {class: "alert-more"}, "What to do"),
    ),
    h("div", {class: "alert-body"}, h("p", {class: "muted"}, alert.title || alert.rule), h("dl", {class: "facts"}), runbook(alert.runbook)),
  );
  return card;
}

/** @param {HTMLElement} card @param {Alert} alert */
function updateAlert(card, alert) {
  const pending = alert.state === "pending";
  const verdict = pending ? "watch" : verdictOf(alert.severity);
  if (card.getAttribute("data-verdict") !== verdict) {
    card.setAttribute("data-verdict", verdict);
    fill(/** @type {Element} */ (card.querySelector(".alert-icon")), icon(verdict));
  }
  say(/** @type {Element} */ (card.querySelector(".chip")), pending ? "pending" : alert.severity);
  say(/** @type {Element} */ (card.querySelector(".alert-message")), sentence(alert.message || alert.title || alert.rule));
  const facts = /** @type {HTMLElement} */ (card.querySelector(".facts"));
  each(
    facts,
    /** @type {[string, string][]} */ ([
      ["series", alert.series],
      ["since step", integer(alert.since_step)],
      ["fired at step", integer(alert.fired_step)],
      ["now", quantity(alert.value, alert.unit)],
      ["baseline", quantity(alert.baseline, alert.unit)],
      ["threshold", quantity(alert.threshold, alert.unit)],
    ]).filter(([, value]) => value !== "–"),
    ([name]) => name,
    ([name]) => h("div", null, h("dt", null, name), h("dd", null)),
    (row, [, value]) => say(/** @type {Element} */ (row.lastElementChild), value),
  );
}

/**
 * The runbook of a rule.
 * @param {Runbook | null | undefined} text
 */
export function runbook(text) {
  if (!text) return null;
  return h("div", {class: "runbook"}, text.meaning && h("p", null, text.meaning), list("Check", text.check), list("Try", text.try));
}

/** @param {string} title @param {(string | Remedy)[]} items */
function list(title, items) {
  if (items.length === 0) return null;
  return h(
    "div",
    null,
    h("h4", null, title),
    h(
      "ul",
      null,
      items.map((item) => (typeof item === "string" ? h("li", null, item) : h("li", null, item.text, h("span", {class: "source"}, item.basis === "inference" ? `no paper: ${item.source}` : item.source)))),
    ),
  );
}
