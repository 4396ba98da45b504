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
  /** @param {string} run @param {import("./look.js").Look} look how all panels are looked at */
  constructor(run, look) {
    this.run = run;
    this.look = look;
    /** @type {Map<string, boolean>} what somebody opened or closed stays so */
    this.chosen = new Map();
    /** @type {Map<string, Group>} as they came last */
    this.groups = new Map();
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
        this.groups.set(group.family, group);
        this.#fill(details, group);
      },
    );
  }

  /** The panels of an open family; a run with thousands of series has hundreds that nobody looks at. @param {HTMLDetailsElement} details @param {Group} group */
  #fill(details, group) {
    if (!details.open) return;
    each(
      /** @type {Element} */ (details.querySelector(".panels")),
      group.figures,
      (figure) => `${figure.name} ${figure.key ?? ""}`,
      (figure) => panel(this.run, figure, figure.key, this.look),
      (element, figure) => /** @type {FigurePanel} */ (element).show(this.run, figure, figure.key),
    );
  }

  /** @param {Group} group */
  #section(group) {
    const details = h(
      "details",
      {ontoggle: () => this.#fill(details, this.groups.get(group.family) ?? group)},
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

  /** Open the family of a panel and go there. @param {string} name @param {string} key */
  find(name, key) {
    const group = [...this.groups.values()].find((one) => one.figures.some((figure) => figure.name === name && (figure.key ?? "") === key));
    const details = group && document.getElementById(sectionId(group.family))?.querySelector("details");
    if (!group || !details) return false;
    this.chosen.set(group.family, true);
    details.open = true;
    this.#fill(details, group);
    for (const element of details.querySelectorAll("figure-panel")) {
      const one = /** @type {FigurePanel} */ (element);
      if (one.info?.name !== name || one.key !== key) continue;
      one.scrollIntoView({block: "start"});
      one.classList.add("found");
      one.plot.focus({preventScroll: true});
    }
    return true;
  }

  /** Draw what is in sight again; the rest when it comes into sight. */
  async refresh() {
    await Promise.all([...this.element.querySelectorAll("figure-panel")].map((one) => /** @type {FigurePanel} */ (one).refresh()));
  }
}
