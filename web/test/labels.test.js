// @ts-check
import assert from "node:assert/strict";
import {test} from "node:test";

import {untangled} from "../foreshock_web/static/labels.js";

const label = (/** @type {number} */ left, /** @type {number} */ top, rank = 0, /** @type {number[]} */ moves = []) => ({left, top, right: left + 50, bottom: top + 12, rank, moves});

test("words that have room stay where they are", () => {
  assert.deepEqual(untangled([label(0, 0), label(0, 20), label(60, 0)]), [0, 0, 0]);
});

test("of two on one another the less urgent goes to the other end of its line", () => {
  assert.deepEqual(untangled([label(100, 5, 5, [-98]), label(100, 0, 0, [-98])]), [-98, 0]);
});

test("without room there it is left out, and never the urgent one", () => {
  assert.deepEqual(untangled([label(100, 5, 5, [-98]), label(100, 0, 0, [-98]), label(0, 3, 1)]), [null, 0, 0]);
});

test("what has moved takes room too", () => {
  assert.deepEqual(untangled([label(100, 0, 0), label(100, 4, 1, [-98]), label(100, 8, 2, [-98])]), [0, -98, null]);
});
