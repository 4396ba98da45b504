// @ts-check
// The shapes of the API's answers, as the page reads them. Nothing runs here.

/** A number, or one of the three words that JSON has no number for. @typedef {number | "NaN" | "Infinity" | "-Infinity"} Reading */
/** @typedef {"running" | "silent" | "finished" | "failed"} RunState */
/** @typedef {"none" | "fine" | "watch" | "collapsing"} Verdict */
/** @typedef {Verdict | "resolved-spike"} Cell */

/** @typedef {{key: string, statistic: string, unit: string, last: Reading | null, spark: {steps: number[], values: (Reading | null)[]}}} Lead */
/** @typedef {{attempt: number, state: RunState, started_at: number, finished_at: number | null, info?: Record<string, unknown>}} Attempt */

/**
 * @typedef {object} Run
 * @property {string} id
 * @property {string} project
 * @property {string} name
 * @property {string | null} [note] of one run, not in lists
 * @property {string | null} [note_by]
 * @property {number | null} [note_at] seconds
 * @property {RunState} state
 * @property {number} created_at seconds
 * @property {number} updated_at seconds
 * @property {number} revision
 * @property {number | null} last_step
 * @property {number} points
 * @property {number} dropped
 * @property {number | Record<string, number>} lost
 * @property {number | null} overhead_percent
 * @property {Attempt[]} [attempts]
 * @property {Record<string, unknown>} [config]
 * @property {Verdict} verdict
 * @property {number} firing
 * @property {Lead | null} lead
 */

/** @typedef {{family: string, cells: Cell[], state: Verdict}} FamilyRow */
/** @typedef {{verdict: Verdict, message: string | null, bins: [number, number][], families: FamilyRow[]}} VerdictStrip */

/** @typedef {{text: string, basis: "paper" | "inference", source: string}} Remedy */
/** @typedef {{meaning: string, check: string[], try: Remedy[]}} Runbook */

/**
 * @typedef {object} Alert
 * @property {string} rule
 * @property {string} title
 * @property {string} family
 * @property {"warning" | "critical"} severity
 * @property {"ok" | "pending" | "firing"} state
 * @property {string} series
 * @property {string} place
 * @property {string} statistic
 * @property {string} unit
 * @property {number} episode
 * @property {number | null} since_step
 * @property {number | null} fired_step
 * @property {number | null} [resolved_step]
 * @property {number | null} step
 * @property {Reading | null} value
 * @property {number | null} baseline
 * @property {number | null} threshold
 * @property {string | null} message
 * @property {Runbook | null} runbook
 */

/** @typedef {{rule: string, series: string, episode: number, kind: "fired" | "escalated" | "resolved", severity: string, step: number, since_step: number | null, at: number, value: Reading | null, threshold: number | null, unit: string, statistic: string, place: string, entry: string | null, message: string | null, title: string}} Transition */

/** @typedef {{run: string, project: string, name: string, number: number, family: string, state: "open" | "resolved", severity: string, message: string | null, rules: string[], firing: string[], muted: string | null, opened_step: number, resolved_step: number | null, opened_at: number, told_at: number | null, resolved_at: number | null, acknowledged_at: number | null, acknowledged_by: string | null}} Incident */
/** @typedef {{id: string, project: string | null, matches: Record<string, string | Record<string, string>>, reason: string, made_by: string, created_at: number, ends_at: number, in_force: boolean}} Silence */
/** @typedef {Incident & {transitions: Transition[], runbooks: Record<string, Runbook | null>, silences: Silence[], earlier: Earlier}} IncidentDetails */
/** @typedef {{runs: number, previous: {run: string, name: string} | null, rules: Record<string, {fired: number, in_previous: boolean, last: {run: string, name: string, step: number, number: number | null} | null}>}} Earlier the runs of the project before this one */
/** @typedef {{id: string, kind: string, state: string, tries: number, error: string | null, channel: {name: string, kind: string} | null, created_at: number, delivered_at: number | null}} Letter */

/** @typedef {{name: string, key?: string, title: string, family: string, order: number, state: Verdict, about: string, height: number, wide: boolean, statistics?: string[], last: {key: string, value: Reading, unit: string} | null}} FigureInfo */
/** @typedef {{key: string, statistic: string, family: string, place: string, unit: string, last: Reading | null, first_step: number | null, last_step: number | null, points: number, nonfinite: number, axis?: {name: string, size: number} | null}} SeriesInfo */

/** @typedef {{id: string, name: string, kind: string, config: {url: string, signed?: boolean}, project: string | null, enabled: boolean, origin: "settings" | "api", created_at: number, secret?: string}} Channel */
/** @typedef {{id: string, name: string, scopes: string[], project: string | null, created_at: number, used_at: number | null, revoked_at: number | null}} Key */
/** @typedef {{needed: boolean, open: boolean, name?: string | null, scopes: string[], project: string | null}} Session */
/** @typedef {{project: string, runs: number, points: number, updated_at: number | null, retention_days: number | null}} Project */
/** @typedef {{counts: {waiting: number, delivered: number, failed: number, tries: number}, deliveries: {channel: {id: string, name: string} | null, state: string, error: string | null}[]}} Deliveries */

/** @typedef {{statistic: string, family: string, place: string, labels: Record<string, string>}} Match */
/** @typedef {{rule: string, family: string}} Part a rule, or all of a family */
/** @typedef {{all: Part[], any: Part[], sequence: Part[], within_steps: number}} Joint what a rule asks of others */
/** @typedef {{id: string, title: string, family: string, severity: string, matches: Match[], derive: ({kind: string, other?: Match} & Record<string, unknown>) | null, joint: Joint | null, detector: {kind: string} & Record<string, unknown>, for_steps: number, min_samples: number, warmup_steps: number, keep_firing_steps: number, cooldown_steps: number, runbook: Runbook, basis: "definition" | "paper" | "measurement" | "heuristic", source: string, origin: string, pack: string, own: {project: string | null, replaces: string | null} | null}} Rule */

// rules made on the page, and rules tried out
/** @typedef {{rule: string, version: number, kind: "created" | "changed" | "deleted" | "restored", project: string | null, pack: string, replaces: string | null, text: string, tests: string, note: string, made_by: string, made_at: number, problem: string | null}} RuleVersion */
/** @typedef {{part: "rule" | "tests", says: string, path: string, line: number | null, column: number | null}} RuleProblem */
/** @typedef {{good: boolean, problems: RuleProblem[], rule: Rule | null, says: string[] | null, series: {run: string, count: number, keys: string[]} | null}} RuleCheck */
/** @typedef {{first: number, last: number, state: string, severity: string | null}} Stretch how an alert stood, or shall, from one step to another */
/** @typedef {{name: string, passed: boolean, problems: string[], curves: {series: string, steps: number[], values: (Reading | null)[]}[], states: Stretch[], fires: "never" | number | [number, number] | null, fired_step: number | null, resolves: "never" | number | [number, number] | null, resolved_step: number | null, expected: Stretch[]}} PlayedTest */
/** @typedef {{run: string, project: string, name: string, state: string, last_step: number | null, updated_at: number, tags: string[]}} Candidate */
/** @typedef {{run: string, watched: number, fired_step: number | null, severity: string | null, series: string | null, level: number | null, share_of_baseline: number | null, critical_step: number | null, resolved_step: number | null, lead: number | null, places: number, summary: string, shown: {series: string, states: Stretch[], levels: Record<string, any>[]} | null}} TriedRun */

/** A run as the list has it. @typedef {Run & {families: {family: string, state: Verdict}[], planned_steps: number | null, owner: string | null, tags: string[], archived: boolean, trashed_at: number | null}} ListedRun */
/** @typedef {{archived?: boolean, trashed?: boolean, owner?: string, note?: string, add_tags?: string[], remove_tags?: string[]}} ChangeOfRuns */
/** @typedef {{tags: {name: string, runs: number}[], owners: {name: string, runs: number}[]}} Words */
/** @typedef {{differ: {name: string, values: (string | null)[]}[], same: number}} Differences */
/** @typedef {{runs: ListedRun[], names: Record<string, string>, groups: {label: string, runs: string[]}[], config: Differences, environment: Differences, series: {key: string, statistic: string, family: string, unit: string, runs: number}[], rules: {rule: string, title: string, runs: number}[]}} Comparison */

export {};
