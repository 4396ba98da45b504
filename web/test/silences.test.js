// @ts-check
import assert from "node:assert/strict";
import {test} from "node:test";

import {tomorrow} from "../foreshock_web/static/format.js";
import {exactly, scopes} from "../foreshock_web/static/silences.js";

const INCIDENT = /** @type {any} */ ({run: "run-1", project: "a[b]*", family: "policy entropy", rules: ["low", "fast"]});

test("a name with the signs of a glob fits itself alone", () => {
  assert.equal(exactly("a[b]*?"), "a[[]b][*][?]");
  assert.equal(exactly("run-1"), "run-1");
});

test("what can be silenced goes from the family to all of the project", () => {
  const found = scopes(INCIDENT);
  assert.deepEqual(found[0], ["Policy entropy, in this run", {run: "run-1", family: "policy entropy"}]);
  assert.deepEqual(found.at(-1), ["Rule fast, in all of a[b]*", {project: "a[[]b][*]", rule: "fast"}]);
  assert.ok(found.some(([label, matches]) => label === "Everything in this run" && Object.keys(matches).length === 1));
});

test("several families have no family to silence", () => {
  assert.ok(scopes({...INCIDENT, family: "several families"}).every(([, matches]) => !("family" in matches)));
});

test("tomorrow is at that hour of the next day, also at the end of a month", () => {
  const now = new Date(2026, 0, 31, 22, 30);
  const then = new Date(now.getTime() + 1000 * tomorrow(now, 8));
  assert.deepEqual([then.getMonth(), then.getDate(), then.getHours(), then.getMinutes()], [1, 1, 8, 0]);
});
