// @ts-check
// Figures as the server ordered them -> families, and which of them are open before anybody chose. Pure.

/** @typedef {import("./types.js").FigureInfo} FigureInfo */
/** @typedef {import("./types.js").Verdict} Verdict */
/** @typedef {{family: string, state: Verdict, episodes: number}} Family `episodes`: alerts that fired over the whole run */
/** @typedef {Family & {figures: FigureInfo[]}} Group */

const AT_EASE = 2; // so many families are open when nothing is wrong and nothing ever was

/** In the order in which people look for them, when nothing says otherwise. */
export const FAMILIES = [
  "policy entropy",
  "RL signal",
  "representation",
  "attention",
  "output logits",
  "experts",
  "codebook",
  "latents",
  "diversity",
  "plasticity",
  "optimiser",
  "numerics",
  "adaptation",
  "training",
  "monitor",
];

/** @param {Verdict} state */
const rank = (state) => ["none", "fine", "watch", "collapsing"].indexOf(state);

/**
 * The families in the server's order, each with its figures.
 * @param {{families: Family[], figures: FigureInfo[]}} answer
 * @returns {Group[]}
 */
export function grouped({families, figures}) {
  return families.map((family) => ({...family, figures: figures.filter((figure) => figure.family === family.family)}));
}

/**
 * Those in trouble; when none is, those that were; when none was, the first two.
 * @param {Group[]} groups
 * @returns {Set<string>}
 */
export function openFirst(groups) {
  const trouble = groups.filter((group) => rank(group.state) >= rank("watch"));
  const past = groups.filter((group) => group.episodes > 0);
  const chosen = trouble.length > 0 ? trouble : past.length > 0 ? past : groups.slice(0, AT_EASE);
  return new Set(chosen.map((group) => group.family));
}
