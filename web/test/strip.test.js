import assert from "node:assert/strict";
import {test} from "node:test";
import {stretches} from "../foreshock_web/static/strip.js";

const bins = [[0, 9], [10, 19], [20, 29], [30, 39]];

test("equal neighbours become one stretch that covers all their steps", () => {
  assert.deepEqual(stretches(["fine", "fine", "watch", "collapsing"], bins), [
    {state: "fine", cells: 2, first: 0, last: 19},
    {state: "watch", cells: 1, first: 20, last: 29},
    {state: "collapsing", cells: 1, first: 30, last: 39},
  ]);
});

test("two spikes stay two", () => {
  assert.equal(stretches(["resolved-spike", "resolved-spike", "fine", "fine"], bins).length, 3);
});

test("no cells, no stretches", () => {
  assert.deepEqual(stretches([], []), []);
});
