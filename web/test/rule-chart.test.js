import assert from "node:assert/strict";
import {test} from "node:test";

import {WIDTH, geometry, linesAsCompared, linesOf, thinned, told} from "../foreshock_web/static/rule-chart.js";

test("a line outside of the readings is in sight, and a step without a reading breaks the curve", () => {
  const found = geometry({steps: [0, 1, 2, 3], values: [1, null, 1, "NaN"]}, [{name: "below", points: [[0, 0]]}]);
  assert.equal(found.low, 0);
  assert.equal(found.high, 1);
  assert.equal(found.path.match(/M/g).length, 2);
  assert.deepEqual(found.odd, [WIDTH]);
  assert.match(found.lines[0].d, /^M0 94L1000 94$/);
});

test("a line that moves is held from step to step", () => {
  const found = geometry({steps: [0, 10], values: [0, 10]}, [{name: "threshold", points: [[2, 4], [6, 8]]}]);
  assert.match(found.lines[0].d, /^M0 .*L600 .*L600 .*L1000 /);
});

test("nothing, one reading and a level stretch are drawn", () => {
  for (const values of [[], [3], [3, 3]]) {
    const found = geometry({steps: values.map((_, i) => i), values}, []);
    assert.ok(found.high > found.low);
    assert.doesNotMatch(found.path, /NaN/);
  }
});

test("a long curve keeps its extremes and what is no number", () => {
  const steps = Array.from({length: 50_000}, (_, i) => i);
  const values = steps.map((i) => (i === 12_345 ? 99 : i === 40_001 ? "NaN" : Math.sin(i)));
  const kept = thinned({steps, values});
  assert.ok(kept.steps.length < 5000);
  assert.ok(kept.values.includes(99));
  assert.ok(kept.values.includes("NaN"));
});

test("only levels of their own are lines beforehand", () => {
  const names = (detector) => linesOf(detector).map(({name, points}) => [name, points[0][1]]);
  assert.deepEqual(names({kind: "threshold", below: 0.3, critical: 0.1, above: null}), [["below", 0.3], ["critical", 0.1]]);
  assert.deepEqual(names({kind: "threshold", below: 0.3, relative_to_baseline: true}), []);
  assert.deepEqual(names({kind: "drop", to: 0.5, absolute: 0.2, clear: 0.6}), [["absolute", 0.2]]);
});

test("lines as compared leave out what is the same line twice", () => {
  const levels = [{step: 5, baseline: 2, warn_level: null, threshold: 1.6, clear: 1.6}];
  assert.deepEqual(linesAsCompared(levels).map(({name}) => name), ["baseline", "threshold"]);
  const two = [{step: 5, baseline: null, warn_level: 1, threshold: 0.5, clear: 1.2}];
  assert.deepEqual(linesAsCompared(two).map(({name}) => name), ["warning", "critical", "resolves at"]);
});

test("states are told in words", () => {
  assert.equal(told([]), "Nothing fires.");
  assert.equal(told([{first: 5, last: 9, state: "firing", severity: "critical"}]), "firing (critical) from step 5 to 9.");
});
