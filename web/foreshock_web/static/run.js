// @ts-check
// One run: the verdict first, then the strip, the alerts, and the panels that prove it.

import {get, getIfAllowed, path, query} from "./api.js";
import {AboutRun} from "./about-run.js";
import {AlertList} from "./alerts.js";
import {notebookLines, showCode} from "./code.js";
import {each, fill, h, say} from "./dom.js";
import {questions} from "./early.js";
import {Families} from "./families.js";
import {duration, integer, number, plural, sentence} from "./format.js";
import {icon, word} from "./icons.js";
import {calm, follow} from "./live.js";
import {Look, fromAddress, toAddress} from "./look.js";
import {LookBar} from "./look-bar.js";
import {preload} from "./plot.js";
import {Note} from "./note.js";
import {chip, state as showState} from "./run-row.js";
import {SeriesList} from "./series-list.js";
import {Strip} from "./strip.js";

/** @typedef {import("./types.js").Alert} Alert */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Deliveries} Deliveries */
/** @typedef {import("./types.js").Transition} Transition */
/** @typedef {import("./types.js").VerdictStrip} VerdictStrip */
/** @typedef {import("./app.js").Context} Context */

/**
 * @param {HTMLElement} root
 * @param {Context} context
 * @param {string} id
 */
export async function showRun(root, {signal, onLive, title}, id) {
  /** @type {Run} */
  let run = await get(questions(id).run, signal);

  const name = h("h1", {tabindex: -1}, run.name || run.id);
  const status = h("span", {class: "state"});
  const facts = h("dl", {class: "facts run-facts"});
  const deliveries = h("p", {class: "deliveries muted"});
  const mark = h("span", {class: "banner-icon", "aria-hidden": "true"});
  const verdict = h("span", {class: "chip"});
  const headline = h("p", {class: "headline"});
  const banner = h("section", {class: "banner", "aria-label": "Verdict", "aria-live": "polite"}, mark, h("div", null, verdict, headline, deliveries));
  const wanted = new URLSearchParams(location.search);
  const look = new Look(fromAddress(wanted));
  const bar = new LookBar(look);
  const families = new Families(id, look);
  const strip = new Strip((family) => families.reveal(family), look);
  const alerts = new AlertList();
  const series = new SeriesList(id, signal, look);
  const about = new AboutRun();
  const note = new Note(id, async () => {
    run = await get(questions(id).run, signal);
    note.show(run);
  });

  fill(
    root,
    h(
      "header",
      {class: "run-head"},
      h("div", {class: "run-title"}, h("p", {class: "crumb"}, h("a", {href: `/${query({project: run.project})}`}, run.project), " /"), name, status),
      h("button", {type: "button", onclick: () => showCode("This run in a notebook", notebookLines(id))}, icon("code"), "Notebook"),
      facts,
    ),
    banner,
    h(
      "div",
      {class: "run-top"},
      h("section", {class: "card", "aria-labelledby": "strip-title"}, h("h2", {id: "strip-title"}, "Families over the run"), strip.element),
      alerts.element,
    ),
    bar.element,
    families.element,
    series.element,
    note.element,
    about.element,
  );

  /** Everything but the drawings. @param {boolean} [first] the run itself has just come */
  async function summary(first = false) {
    const addresses = questions(id);
    /** @param {string} address @returns {Promise<any>} */
    const ask = (address) => get(address, signal);
    // Each part as soon as it is there: a list of hundreds of figures must not keep the verdict waiting.
    const head = (first ? Promise.resolve(run) : ask(addresses.run)).then((fresh) => {
      run = fresh;
      showHead();
      about.show(run);
      note.show(run);
    });
    const judgement = Promise.all([ask(addresses.verdict), ask(addresses.alerts), ask(addresses.incidents), head]).then(([judged, alerted, incidents]) => {
      showVerdict(judged, alerted);
      strip.show(judged);
      if (judged.bins.length > 0) bar.span(judged.bins[0][0], judged.bins[judged.bins.length - 1][1]);
      alerts.show(alerted, incidents.incidents);
    });
    await Promise.all([
      Promise.all([ask(addresses.figures), judgement]).then(([figures]) => {
        bar.offer(figures.axes);
        families.show(figures);
        // Behind the frame in which the panels in sight ask for their figures: while plotly.js starts, nothing else runs.
        if (first) requestAnimationFrame(() => setTimeout(preload));
      }),
      Promise.all([ask(`/deliveries${query({run: id, limit: 100})}`), getIfAllowed("/channels", signal)]).then(([sent, channels]) => {
        showDeliveries(sent, channels === null ? null : channels.channels.filter((/** @type {{enabled: boolean}} */ channel) => channel.enabled).length);
      }),
    ]);
  }

  function showHead() {
    say(name, run.name || run.id);
    showState(status, run.state);
    const attempts = run.attempts ?? [];
    const current = attempts[attempts.length - 1];
    const lost = typeof run.lost === "number" ? run.lost : Math.max(run.dropped, Object.values(run.lost).reduce((sum, one) => sum + one, 0));
    const ended = current?.finished_at ?? (run.state === "running" ? Date.now() / 1000 : run.updated_at);
    showFacts([
      ["step", integer(run.last_step)],
      ["attempt", current && attempts.length > 1 ? `${current.attempt} of ${attempts.length}` : integer(current?.attempt ?? 1)],
      ["duration", current ? duration(ended - current.started_at) : "–"],
      ["overhead", run.overhead_percent === null ? "–" : `${number(Number(run.overhead_percent.toPrecision(2)))}\u00a0%`],
      ["readings", integer(run.points)],
      ["lost", integer(lost)],
    ]);
  }

  /** @param {[string, string][]} pairs */
  function showFacts(pairs) {
    each(
      facts,
      pairs,
      ([label]) => label,
      ([label]) => h("div", null, h("dt", null, label), h("dd", {class: "num"})),
      (row, [label, value]) => {
        say(/** @type {Element} */ (row.lastElementChild), value);
        row.classList.toggle("bad", label === "lost" && value !== "0");
      },
    );
  }

  /** @param {VerdictStrip} judged @param {{alerts: Alert[], transitions: Transition[]}} said */
  function showVerdict(judged, {alerts: said, transitions: changes}) {
    if (banner.getAttribute("data-verdict") !== judged.verdict) {
      banner.setAttribute("data-verdict", judged.verdict);
      fill(mark, icon(judged.verdict));
      chip(verdict, judged.verdict);
    }
    if (!headline.textContent) performance.mark("verdict");
    say(headline, sentence(judged.message ?? said.find((alert) => alert.state === "pending")?.message ?? quietSentence(run, judged, changes)));
    title(`${judged.verdict === "fine" || judged.verdict === "none" ? "" : `${word(judged.verdict)}: `}${run.project}/${run.name || run.id}`);
  }

  /** @param {Deliveries} sent @param {number | null} channels how many are enabled; null: not for this key to know */
  function showDeliveries(sent, channels) {
    const {delivered, waiting, failed} = sent.counts;
    if (delivered + waiting + failed === 0 && channels === null) {
      fill(deliveries);
      return;
    }
    if (delivered + waiting + failed === 0) {
      fill(deliveries, channels !== null && channels > 0 ? `Alerts go to ${plural(channels, "channel")}.` : h("span", null, "Alerts go nowhere yet: ", h("a", {href: "/settings"}, "add a channel"), "."));
      return;
    }
    const to = new Set(sent.deliveries.filter((one) => one.state === "delivered").map((one) => one.channel?.id)).size;
    const parts = [delivered > 0 && `${plural(delivered, "message")} sent to ${plural(to, "channel")}`, waiting > 0 && `${integer(waiting)} on the way`, failed > 0 && `${integer(failed)} not delivered`];
    fill(deliveries, h("span", {class: failed > 0 ? "bad" : null}, `${parts.filter(Boolean).join(", ")}.`), failed > 0 && " ", failed > 0 && h("a", {href: "/settings"}, "Look at the channels"));
  }

  look.onChange.add(() => {
    if (!signal.aborted) history.replaceState(history.state, "", location.pathname + query(toAddress(look.choice)));
  });
  const known = run.revision; // as of before everything else was asked for
  await summary(true);
  const figure = wanted.get("figure");
  if (figure) families.find(figure, wanted.get("key") ?? "");
  const refresh = calm(async () => {
    await summary();
    await Promise.all([families.refresh(), series.refresh()]);
  }, 1000);
  follow(path`/runs/${id}/live`, {signal, onState: onLive, onReturn: refresh, onChange: (hint) => (hint.revision > known || hint.state !== run.state) && refresh()});
  const clock = setInterval(() => run.state === "running" && showHead(), 5000);
  signal.addEventListener("abort", () => clearInterval(clock));
}

/**
 * What the banner says when no rule has a sentence.
 * @param {Run} run
 * @param {VerdictStrip} judged
 * @param {Transition[]} changes
 */
function quietSentence({state, last_step: step}, {verdict, bins}, changes) {
  if (verdict === "none" || bins.length === 0) return "No readings yet.";
  const failed = state === "failed" ? `The run failed at step ${integer(step)}. ` : "";
  const fired = changes.filter((change) => change.kind === "fired").length;
  if (fired === 0) return `${failed}Nothing is wrong up to step ${integer(step)}.`;
  const last = Math.max(...changes.filter((change) => change.kind === "resolved").map((change) => change.step));
  return `${failed}Nothing fires now; ${plural(fired, "alert")} fired before, the last one resolved at step ${integer(last)}.`;
}
