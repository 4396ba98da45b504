// @ts-check
// The panels of a run by family, in order of trouble; quiet families are folded, and open at a press.

import {each, h, say} from "./dom.js";
import {heading, plural} from "./format.js";
import {icon, word} from "./icons.js";
import {grouped, openFirst} from "./order.js";
import {panel} from "./panel.js";

/** @typedef {import("./types.js").FigureInfo} FigureInfo */
/** @typedef {import("./panel.js").FigurePanel} FigurePanel */
/** @typedef {import("./order.js").Group} Group */

/** The id of a family's section. @param {string} family */
export const sectionId = (family) => `family-${family.replaceAll(/[^A-Za-z0-9]+/g, "-")}`;

export class Families {
  /** @param {string} run */
  constructor(run) {
    this.run = run;
    /** @type {Map<string, boolean>} what somebody opened or closed stays so */
    this.chosen = new Map();
    this.element = h("div", {class: "families"});
  }

  /** @param {{families: import("./order.js").Family[], figures: FigureInfo[]}} answer */
  show(answer) {
    const groups = grouped(answer);
    const open = openFirst(groups);
    each(
      this.element,
      groups,
      (group) => group.family,
      (group) => this.#section(group),
      (section, group) => {
        const details = /** @type {HTMLDetailsElement} */ (section.querySelector("details"));
        const wanted = this.chosen.get(group.family) ?? (open.has(group.family) || (details.open && section.hasAttribute("data-state")));
        if (section.getAttribute("data-state") !== group.state) {
          section.setAttribute("data-state", group.state);
          const state = /** @type {Element} */ (section.querySelector(".family-state"));
          state.replaceChildren(icon(group.state), h("span", null, group.state === "none" ? "" : word(group.state)));
        }
        const before = group.episodes > 0 && group.state === "fine" ? `${plural(group.episodes, "earlier alert")} · ` : "";
        say(/** @type {Element} */ (section.querySelector(".family-count")), before + plural(group.figures.length, "panel"));
        if (details.open !== wanted) {
          details.open = wanted;
        }
        each(
          /** @type {Element} */ (section.querySelector(".panels")),
          group.figures,
          (figure) => `${figure.name} ${figure.key ?? ""}`,
          (figure) => panel(this.run, figure, figure.key),
          (element, figure) => /** @type {FigurePanel} */ (element).show(this.run, figure, figure.key),
        );
      },
    );
  }

  /** @param {Group} group */
  #section(group) {
    const details = h(
      "details",
      null,
      h(
        "summary",
        {class: "family-head", onclick: () => this.chosen.set(group.family, !details.open)},
        h("h3", null, heading(group.family)),
        h("span", {class: "family-state"}),
        h("span", {class: "family-count muted"}),
      ),
      h("div", {class: "panels"}),
    );
    return h("section", {id: sectionId(group.family), class: "family"}, details);
  }

  /** Open a family and go there. @param {string} family */
  reveal(family) {
    const section = document.getElementById(sectionId(family));
    const details = section?.querySelector("details");
    if (!section || !details) return;
    this.chosen.set(family, true);
    details.open = true;
    section.scrollIntoView({block: "start"});
    section.querySelector("summary")?.focus({preventScroll: true});
  }

  /** Draw what is in sight again; the rest when it comes into sight. */
  async refresh() {
    await Promise.all([...this.element.querySelectorAll("figure-panel")].map((one) => /** @type {FigurePanel} */ (one).refresh()));
  }
}
