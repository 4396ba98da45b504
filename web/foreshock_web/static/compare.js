// @ts-check
// Runs beside each other: what differs between their settings, and the same series of all of them in one figure each.

import {ApiError, get, runHref} from "./api.js";
import {comparePanel} from "./compare-panel.js";
import {read, usual, write} from "./compare-query.js";
import {fill, h, say} from "./dom.js";
import {plural} from "./format.js";
import {calm, follow} from "./live.js";
import {chip} from "./run-row.js";

/** @typedef {import("./types.js").Comparison} Comparison */
/** @typedef {import("./compare-query.js").Way} Way */
/** @typedef {import("./app.js").Context} Context */

const AGAIN = 2000; // milliseconds between two looks at runs that grow

/**
 * @param {HTMLElement} root
 * @param {Context} context
 */
export async function showCompare(root, {signal, onLive, title}) {
  title("Compare");
  let way = read(location.search);
  if (way.runs.length === 0) {
    fill(root, h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Compare")), h("p", {class: "card nothing"}, "Choose two or more runs in ", h("a", {href: "/"}, "the list"), " and press Compare."));
    return;
  }
  /** @type {Comparison} */
  let known = await ask();
  let keys = way.keys.length > 0 ? way.keys : usual(known);
  /** @type {ReturnType<typeof comparePanel>[]} */
  let panels = [];

  const count = h("p", {class: "count muted", role: "status"});
  const align = select("Aligned by", [["step", "Aligned by step"], ["time", "Aligned by time since the start"], ["alert", "Aligned by alert"]], (value) => choose({align: /** @type {Way["align"]} */ (value)}));
  const rule = select("Alert", [], (value) => choose({rule: value}));
  const side = select("Arrangement", [["", "Over each other"], ["side", "Side by side"]], (value) => choose({side: value === "side"}));
  const seeds = h("input", {type: "checkbox", onchange: () => choose({seeds: seeds.checked})});
  const healthy = h("input", {type: "checkbox", onchange: () => choose({healthy: healthy.checked})});
  const list = h("ul", {class: "compared"});
  const settings = h("div", {class: "settings-diff"});
  const charts = h("div", {class: "compare-panels"});
  const names = h("datalist", {id: "series-keys"});
  const more = h("input", {type: "search", list: "series-keys", placeholder: "Add a series", "aria-label": "Add a series", onchange: add});
  const wrong = h("p", {class: "problem", role: "alert"});
  fill(
    root,
    h("div", {class: "toolbar"}, h("h1", {tabindex: -1}, "Compare"), count),
    list,
    h("div", {class: "compare-controls"}, align, rule, side, h("label", {class: "check"}, seeds, "Seeds as mean and range"), h("label", {class: "check"}, healthy, "Healthy range"), more, names, wrong),
    charts,
    h("h2", null, "What differs"),
    settings,
  );

  /** @returns {Promise<Comparison>} */
  async function ask() {
    return get(`/compare?${new URLSearchParams(way.runs.map((run) => ["run", run]))}`, signal);
  }

  function show() {
    say(count, `${plural(known.runs.length, "run")}, ${plural(known.groups.length, "configuration")} beside the seeds`);
    align.value = way.align;
    fill(rule, h("option", {value: ""}, "The first alert of each"), known.rules.map((one) => h("option", {value: one.rule}, `${one.title} (${plural(one.runs, "run")})`)));
    rule.value = way.rule;
    rule.hidden = way.align !== "alert";
    side.value = way.side ? "side" : "";
    seeds.checked = way.seeds;
    healthy.checked = way.healthy;
    healthy.disabled = way.align === "alert"; // healthy runs have none
    fill(names, known.series.map((one) => h("option", {value: one.key}, `${one.family}, ${plural(one.runs, "run")}`)));
    fill(
      list,
      known.runs.map((run) => {
        const verdict = h("span", {class: "chip"});
        chip(verdict, run.verdict);
        const name = known.names[run.id];
        const others = way.runs.filter((id) => id !== run.id);
        return h("li", {class: "card"}, verdict, h("a", {href: runHref(run.id)}, name), known.runs.length > 1 && h("button", {type: "button", class: "quiet", "aria-label": `Compare without ${name}`, onclick: () => void without(others)}, "×"));
      }),
    );
    fill(settings, differences("Configuration", known.config), differences("Environment", known.environment));
    for (const old of panels.filter((one) => !keys.includes(one.key))) {
      old.end();
      old.element.remove();
    }
    panels = keys.map((key) => panels.find((one) => one.key === key) ?? comparePanel(key, {way: () => way, close: () => wish(keys.filter((one) => one !== key)), signal}));
    for (const one of panels) if (!one.element.isConnected) charts.append(one.element);
  }

  /** @param {string} what @param {import("./types.js").Differences} told */
  function differences(what, told) {
    if (told.differ.length === 0) return h("p", {class: "muted same"}, `${what}: nothing differs, ${plural(told.same, "setting")}.`);
    return h(
      "div",
      {class: "card table-box", tabindex: 0, role: "region", "aria-label": `${what}: what differs`},
      h(
        "table",
        {class: "diff"},
        h("caption", null, `${what}: ${plural(told.differ.length, "setting differs", "settings differ")}, ${told.same === 1 ? "1 is" : `${told.same} are`} the same`),
        h("thead", null, h("tr", null, h("th", {scope: "col"}, "Setting"), known.runs.map((run) => h("th", {scope: "col"}, known.names[run.id])))),
        h("tbody", null, told.differ.map((one) => h("tr", null, h("th", {scope: "row"}, one.name), one.values.map((value) => h("td", {class: value === null ? "muted" : null}, value ?? "not set"))))),
      ),
    );
  }

  /** @param {Partial<Way>} change */
  function choose(change) {
    way = {...way, ...change};
    history.replaceState(null, "", location.pathname + write(way));
    show();
    for (const one of panels) void one.refresh();
  }

  /** @param {string[]} wanted */
  function wish(wanted) {
    keys = wanted;
    way = {...way, keys};
    history.replaceState(null, "", location.pathname + write(way));
    show();
  }

  function add() {
    const key = more.value.trim();
    const there = known.series.some((one) => one.key === key);
    say(wrong, key && !there ? `None of these runs has a series ${key}.` : "");
    if (!there) return;
    more.value = "";
    if (!keys.includes(key)) wish([...keys, key]);
  }

  /** @param {string[]} runs */
  async function without(runs) {
    way = {...way, runs};
    known = await ask();
    choose({});
  }

  show();
  const refresh = calm(async () => {
    try {
      known = await ask();
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) onLive("deleted");
      throw error;
    }
    show();
    await Promise.all(panels.map((one) => one.refresh()));
  }, AGAIN);
  follow("/live", {
    signal,
    onState: onLive,
    onReturn: refresh,
    onChange: (change) => {
      if (way.runs.includes(change.run)) refresh();
    },
  });
}

/**
 * @param {string} label
 * @param {string[][]} known values and their words
 * @param {(value: string) => void} chosen
 */
function select(label, known, chosen) {
  const element = h("select", {"aria-label": label, onchange: () => chosen(element.value)}, known.map(([value, text]) => h("option", {value}, text)));
  return element;
}
