// @ts-check
// What can be done with a panel: a link to it, a picture, its numbers, lines for a notebook, a rule about one of its series.

import {get, path, query} from "./api.js";
import {asCsv, matrixCsv} from "./csv.js";
import {h, say} from "./dom.js";
import {icon} from "./icons.js";
import {picture} from "./plot.js";

/** @typedef {import("./panel.js").FigurePanel} FigurePanel */

const LAYERS = "layers."; // what the names of maps of all places begin with
const MOST_KEYS = 8; // of which a rule is offered; more are found in the list of series

/** A file that the browser saves. @param {string} name @param {string} address */
function save(name, address) {
  const link = h("a", {href: address, download: name});
  document.body.append(link);
  link.click();
  link.remove();
}

/** Where a panel is. @param {FigurePanel} panel */
export function panelLink(panel) {
  const here = new URLSearchParams(location.search);
  const rest = Object.fromEntries(["x", "log", "smooth", "first", "last"].map((name) => [name, here.get(name)]));
  return location.origin + path`/runs/${panel.run}` + query({...rest, figure: panel.info?.name ?? "", key: panel.key});
}

/** The series that are drawn. @param {FigurePanel} panel @returns {string[]} */
const keysOf = (panel) => panel.figure?.layout.meta.keys ?? [];

/** @param {FigurePanel} panel */
async function csv(panel) {
  const {first, last} = panel.look.choice;
  const run = path`/runs/${panel.run}`;
  const name = panel.info?.name ?? "";
  if (name.startsWith(LAYERS)) return matrixCsv(await get(`${run}/heatmap${query({statistic: name.slice(LAYERS.length), columns: 4000, first, last})}`));
  const keys = keysOf(panel).map((key) => ["key", key]);
  return asCsv(await get(`${run}/data?${new URLSearchParams([...keys, ["points", "0"], ...Object.entries({first, last}).filter(([, step]) => step !== null).map(([end, step]) => [end, String(step)])])}`));
}

/** The button, and the menu that it opens. @param {FigurePanel} panel */
export function panelMenu(panel) {
  const said = h("p", {class: "menu-said", role: "status"});
  const list = h("div", {class: "menu", hidden: true});
  const button = h("button", {type: "button", class: "quiet", title: "More", "aria-expanded": "false", onclick: () => (list.hidden ? open() : close())}, icon("more"), h("span", {class: "hidden"}, "More about this panel"));
  const element = h("div", {class: "panel-menu"}, button, list);
  const name = () => `${panel.run}-${(panel.key || panel.info?.name || "panel").replaceAll(/[^\w.-]+/g, "-")}`;

  /** @param {string} label @param {() => unknown} work */
  function item(label, work) {
    const one = h("button", {type: "button", class: "menu-item", onclick: () => void run()}, label);
    async function run() {
      try {
        say(said, (await work()) === "stay" ? said.textContent ?? "" : "");
        if (said.textContent === "") close();
      } catch (error) {
        say(said, error instanceof Error ? error.message : String(error));
      }
    }
    return one;
  }

  async function copyLink() {
    const link = panelLink(panel);
    try {
      await navigator.clipboard.writeText(link);
      say(said, "Copied.");
    } catch {
      say(said, link); // without https a browser refuses the clipboard
    }
    return "stay";
  }

  /** @param {"png" | "svg"} format */
  async function image(format) {
    save(`${name()}.${format}`, await picture(panel.plot, panel.info?.title ?? "", format));
  }

  async function numbers() {
    const address = URL.createObjectURL(new Blob([await csv(panel)], {type: "text/csv"}));
    save(`${name()}.csv`, address);
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  function open() {
    say(said, "");
    const keys = keysOf(panel).slice(0, MOST_KEYS);
    list.replaceChildren(
      item("Copy link", copyLink),
      item("Save as PNG", () => image("png")),
      item("Save as SVG", () => image("svg")),
      item("Save numbers as CSV", numbers),
      item("Open in a notebook", () => {
        close();
        panel.showCode();
      }),
      ...keys.map((key) => h("a", {class: "menu-item", href: `/rules/new${query({run: panel.run, series: key})}`}, keys.length > 1 ? `Alert on ${key}` : "Alert on this")),
      said,
    );
    list.hidden = false;
    button.setAttribute("aria-expanded", "true");
    /** @type {HTMLElement | null} */ (list.querySelector(".menu-item"))?.focus();
    document.addEventListener("pointerdown", outside);
  }

  function close() {
    const within = list.contains(document.activeElement);
    list.hidden = true;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside);
    if (within) button.focus();
  }

  /** @param {PointerEvent} event */
  function outside(event) {
    if (!element.isConnected || !(event.target instanceof Node && element.contains(event.target))) close();
  }

  element.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const items = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".menu-item")]);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (event.key === "Escape") close();
    else if (event.key === "ArrowDown") items[(at + 1) % items.length].focus();
    else if (event.key === "ArrowUp") items[(at - 1 + items.length) % items.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  element.addEventListener("focusout", (event) => {
    if (!list.hidden && event.relatedTarget instanceof Node && !element.contains(event.relatedTarget)) close();
  });
  return element;
}
