// @ts-check
// One incident: what happened when, the chart that proves it, what to do, who was told; acknowledge it, or keep it quiet for a time.

import {runbook, verdictOf} from "./alerts.js";
import {get, getIfAllowed, path, post, query, remove, runHref} from "./api.js";
import {deliveryLog} from "./deliveries.js";
import {each, fill, h, say} from "./dom.js";
import {showEarlier} from "./earlier.js";
import {duration, heading, integer, moment, quantity} from "./format.js";
import {icon} from "./icons.js";
import {says, shape, showCare} from "./incidents.js";
import {calm, follow} from "./live.js";
import {panel} from "./panel.js";
import {makeSilence, silenceForm, updateSilence} from "./silences.js";
import {placesOf, whichOf} from "./where.js";

/** @typedef {import("./types.js").IncidentDetails} IncidentDetails */
/** @typedef {import("./types.js").Transition} Transition */
/** @typedef {import("./panel.js").FigurePanel} FigurePanel */
/** @typedef {import("./app.js").Context} Context */

const CHARTS = 3; // the series that fired first; the others are on the run's page
const LETTERS = 200;

/**
 * @param {HTMLElement} root
 * @param {Context} context
 * @param {string} run
 * @param {string} number
 */
export async function showIncident(root, {signal, onLive, title}, run, number) {
  const here = path`/runs/${run}/incidents/${number}`;
  /** @type {IncidentDetails} */
  let incident = await get(here, signal);

  const name = h("h1", {tabindex: -1});
  const mark = h("span", {class: "incident-icon", "aria-hidden": "true"});
  const care = h("span", {class: "incident-state chip"});
  const facts = h("dl", {class: "facts"});
  const acknowledge = h("button", {type: "button", class: "primary", onclick: () => void act()});
  const problem = h("p", {class: "problem", role: "alert"});
  const muted = h("p", {class: "muted"});
  const silences = h("ul", {class: "silences"});
  const form = h("div", {hidden: true});
  const changes = h("ol", {class: "history"});
  const charts = h("div", {class: "panels"});
  const which = h("div", {class: "panels which"});
  const before = h("ul", {class: "earlier"});
  const further = h("p", {class: "muted", hidden: true});
  const books = h("div", {class: "books"});
  const log = h("ul", {class: "letters"});
  const untold = h("p", {class: "muted"});

  fill(
    root,
    h("p", {class: "crumb"}, h("a", {href: "/incidents"}, "Incidents"), " / ", h("a", {href: runHref(run)}, `${incident.project} / ${incident.name || run}`)),
    h("header", {class: "incident-head"}, mark, name, care, facts),
    h("section", {class: "card care", "aria-label": "What you can do"}, h("div", {class: "actions"}, acknowledge, muted), problem, form, silences),
    h("section", {"aria-labelledby": "evidence"}, h("h2", {id: "evidence"}, "Evidence"), charts, which, further),
    h("section", {class: "card", "aria-labelledby": "earlier"}, h("h2", {id: "earlier"}, "Did it happen before?"), before),
    h(
      "div",
      {class: "incident-columns"},
      h("section", {class: "card", "aria-labelledby": "timeline"}, h("h2", {id: "timeline"}, "What happened"), changes),
      h("section", {class: "card", "aria-labelledby": "told"}, h("h2", {id: "told"}, "Who was told"), untold, log),
    ),
    h("section", {class: "card", "aria-labelledby": "todo"}, h("h2", {id: "todo"}, "What to do"), books),
  );
  form.append(silenceForm(incident, load));

  async function act() {
    say(problem, "");
    acknowledge.disabled = true;
    try {
      await (incident.acknowledged_at === null ? post(`${here}/acknowledge`) : remove(`${here}/acknowledge`));
      await load();
    } catch (error) {
      say(problem, error instanceof Error ? error.message : String(error));
    } finally {
      acknowledge.disabled = false;
    }
  }

  async function load() {
    const [fresh, sent] = await Promise.all([get(here, signal), getIfAllowed(`/deliveries${query({run, incident: number, limit: LETTERS})}`, signal)]);
    incident = fresh;
    showHead();
    showCharts();
    showEarlier(before, incident.earlier, (rule) => titleOf(incident, rule));
    each(changes, incident.transitions, keyOf, makeChange, () => {});
    showBooks();
    say(untold, toldNobody(incident, sent?.deliveries.length ?? 0));
    untold.hidden = untold.textContent === "";
    deliveryLog(log, sent?.deliveries ?? [], load);
  }

  function showHead() {
    title(`${heading(incident.family)} · ${incident.name || run}`);
    say(name, says(incident));
    if (mark.getAttribute("data-verdict") !== shape(incident)) {
      mark.setAttribute("data-verdict", shape(incident));
      fill(mark, icon(shape(incident)));
    }
    showCare(care, incident);
    const ends = incident.resolved_at ?? Date.now() / 1000;
    /** @type {[string, string][]} */
    const told = [
      ["incident", `${integer(incident.number)} of this run`],
      ["family", incident.family],
      ["severity", incident.severity],
      ["where", placesOf(incident.transitions)],
      ["since step", integer(sinceOf(incident))],
      ["began", moment(incident.opened_at)],
      [incident.state === "open" ? "for" : "lasted", duration(ends - incident.opened_at)],
    ];
    if (incident.resolved_step !== null) told.push(["over at step", integer(incident.resolved_step)]);
    each(
      facts,
      told,
      ([label]) => label,
      ([label]) => h("div", null, h("dt", null, label), h("dd", {class: "num"})),
      (row, [, value]) => say(/** @type {Element} */ (row.lastElementChild), value),
    );
    const open = incident.state === "open";
    acknowledge.hidden = !open;
    say(acknowledge, incident.acknowledged_at === null ? "Acknowledge" : "Take the acknowledgement back");
    acknowledge.classList.toggle("primary", incident.acknowledged_at === null);
    say(muted, open ? careText(incident) : `It is over${incident.resolved_at === null ? "" : ` since ${moment(incident.resolved_at)}`}. ${careText(incident)}`);
    form.hidden = !open;
    each(silences, incident.silences, (one) => one.id, (one) => makeSilence(one, load), updateSilence);
  }

  function showCharts() {
    const keys = [...new Set(incident.transitions.map((change) => change.series))];
    each(
      charts,
      keys.slice(0, CHARTS),
      (key) => key,
      (key) => panel(run, chartOf(incident, key), key),
      (element, key) => /** @type {FigurePanel} */ (element).show(run, chartOf(incident, key), key),
    );
    further.hidden = keys.length <= CHARTS;
    fill(further, `It fired at ${integer(keys.length - CHARTS)} further places: `, h("a", {href: runHref(run)}, "all of them on the run's page"), ".");
  }

  function showBooks() {
    each(
      books,
      incident.rules,
      (rule) => rule,
      (rule) => h("div", {class: "book"}, h("h3", null, h("a", {href: `/rules#${rule}`}, titleOf(incident, rule))), runbook(incident.runbooks[rule]) ?? h("p", {class: "muted"}, "This rule is no longer in force; it left no runbook.")),
      () => {},
    );
  }

  /** Which tokens, experts, codes or heads: beside what fired, where the run has such a figure. */
  async function showWhich() {
    /** @type {{figures: import("./types.js").FigureInfo[]}} */
    const {figures} = await get(path`/runs/${run}/figures`, signal);
    const fired = incident.transitions.map((change) => change.statistic);
    each(which, whichOf(figures, incident.family, fired), (info) => info.name, (info) => panel(run, info), (element, info) => /** @type {FigurePanel} */ (element).show(run, info));
  }

  await load();
  void showWhich().catch(() => {}); // the evidence itself is there
  const refresh = calm(async () => {
    await load();
    await Promise.all([...charts.children, ...which.children].map((one) => /** @type {FigurePanel} */ (one).refresh()));
  }, 1000);
  follow(path`/runs/${run}/live`, {signal, onState: onLive, onReturn: refresh, onChange: refresh});
  const clock = setInterval(showHead, 5000);
  signal.addEventListener("abort", () => clearInterval(clock));
}

/** @param {Transition} change */
const keyOf = (change) => `${change.rule} ${change.series} ${change.episode} ${change.kind}`;

/** @param {Transition} change */
function makeChange(change) {
  const value = change.value === null || change.value === undefined ? "" : ` at ${quantity(change.value, change.unit)}`;
  const limit = change.threshold === null || change.threshold === undefined || change.kind === "resolved" ? "" : `, the limit is ${quantity(change.threshold, change.unit)}`;
  return h(
    "li",
    {class: `change change-${change.kind}`},
    icon(change.kind === "resolved" ? "fine" : verdictOf(change.severity)),
    h("span", {class: "num"}, `step ${integer(change.step)}`),
    h("span", null, h("strong", null, change.title), ` ${change.kind}${value}${limit}`, h("span", {class: "muted"}, ` · ${change.series} · ${moment(change.at)}`)),
  );
}

/** The step of the first breach: it fired some steps later. @param {IncidentDetails} incident */
const sinceOf = ({transitions, opened_step: opened}) => Math.min(opened, ...transitions.map((change) => change.since_step ?? opened));

/** @param {IncidentDetails} incident @param {string} key */
function chartOf(incident, key) {
  const last = incident.transitions.filter((change) => change.series === key).at(-1);
  return {name: "series", title: key, about: last?.message ?? "", height: 300, wide: false, statistics: last ? [last.statistic] : [], last: null};
}

/** @param {IncidentDetails} incident @param {string} rule */
const titleOf = (incident, rule) => incident.transitions.find((change) => change.rule === rule)?.title ?? rule;

/** What acknowledging has done or would do. @param {IncidentDetails} incident */
function careText({acknowledged_at: at, acknowledged_by: by, state}) {
  if (at !== null) return `${by} looks after it since ${moment(at)}: nobody is reminded, no further channel is called.`;
  return state === "open" ? "Somebody looks after it? Then nobody is reminded, and no further channel is called. Its end is told all the same." : "";
}

/** @param {IncidentDetails} incident @param {number} letters */
function toldNobody({muted, told_at: told}, letters) {
  if (told === null && muted !== null) return `Nobody so far: it is held back by ${muted.startsWith("silence") ? "a silence" : muted}.`;
  return letters === 0 ? "Nobody: there was no channel for it." : "";
}
