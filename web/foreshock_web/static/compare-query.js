// @ts-check
// What is compared, and how <-> the address bar, and the request for a figure. Pure.

/**
 * @typedef {object} Way
 * @property {string[]} runs ids
 * @property {string[]} keys of the series; none: what tells most
 * @property {"step" | "time" | "alert"} align
 * @property {string} rule whose alert
 * @property {boolean} seeds runs that differ in their seed alone are one
 * @property {boolean} healthy with the range of healthy runs behind
 * @property {boolean} side by side
 */

/** @param {string} search the address's query @returns {Way} */
export function read(search) {
  const given = new URLSearchParams(search);
  const align = given.get("align");
  return {
    runs: [...new Set((given.get("runs") ?? "").split(",").map((id) => id.trim()).filter(Boolean))],
    keys: given.getAll("key").filter(Boolean),
    align: align === "time" || align === "alert" ? align : "step",
    rule: given.get("rule") ?? "",
    seeds: given.get("group") === "seeds",
    healthy: given.get("healthy") === "auto",
    side: given.get("layout") === "side",
  };
}

/** The address's query. @param {Way} way */
export function write(way) {
  const given = new URLSearchParams();
  if (way.align !== "step") given.append("align", way.align);
  if (way.rule && way.align === "alert") given.append("rule", way.rule);
  if (way.seeds) given.append("group", "seeds");
  if (way.healthy) given.append("healthy", "auto");
  if (way.side) given.append("layout", "side");
  for (const key of way.keys) given.append("key", key);
  const rest = given.toString();
  return `?runs=${way.runs.map(encodeURIComponent).join(",")}${rest && `&${rest}`}`;
}

/**
 * The query of GET /compare/figure.
 * @param {Way} way
 * @param {string} key
 * @param {string} theme
 * @param {number} width pixels that there are
 */
export function request(way, key, theme, width) {
  const asked = new URLSearchParams(way.runs.map((run) => ["run", run]));
  asked.append("key", key);
  asked.append("align", way.align);
  if (way.rule && way.align === "alert") asked.append("rule", way.rule);
  if (way.seeds) asked.append("group", "seeds");
  if (way.healthy) asked.append("healthy", "auto");
  asked.append("columns", String(way.side ? Math.max(1, Math.min(4, way.runs.length, Math.floor(width / 300))) : 0));
  asked.append("theme", theme);
  return asked.toString();
}

/**
 * The same figure in a notebook.
 * @param {Way} way @param {string} key @param {string} origin
 */
export function lines(way, key, origin) {
  const more = [
    way.align !== "step" && `align=${JSON.stringify(way.align)}`,
    way.rule && way.align === "alert" && `rule=${JSON.stringify(way.rule)}`,
    way.seeds && 'group="seeds"',
    way.healthy && 'healthy="auto"',
    way.side && "columns=3",
  ].filter(Boolean);
  return `import foreshock\n\nclient = foreshock.Client(${JSON.stringify(origin)})\nclient.compare(\n    ${JSON.stringify(way.runs)},\n    ${[JSON.stringify(key), ...more].join(",\n    ")},\n)`;
}

const AT_FIRST = 4; // figures

/**
 * The series that are drawn before anybody chose: those that lead the runs, then the first of each family that most runs have.
 * @param {import("./types.js").Comparison} known
 * @returns {string[]}
 */
export function usual({runs, series}) {
  const leads = runs.flatMap((run) => (run.lead ? [run.lead.key] : []));
  const families = new Set(series.filter((one) => leads.includes(one.key)).map((one) => one.family));
  const others = series.filter((one) => one.runs > 1 || runs.length === 1).filter((one) => !families.has(one.family) && families.add(one.family));
  return [...new Set([...leads, ...others.map((one) => one.key)])].slice(0, Math.max(AT_FIRST, new Set(leads).size));
}
