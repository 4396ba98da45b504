// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import {placesOf, whichOf} from "../foreshock_web/static/where.js";

test("a place is told with its entries, and what is too much is counted", () => {
  assert.equal(placesOf([{place: "", entry: null}]), "the whole model");
  assert.equal(placesOf([{place: "moe.3", entry: "expert 5"}, {place: "moe.3", entry: "expert 7"}, {place: "moe.3", entry: "expert 5"}]), "moe.3 (expert 5, expert 7)");
  assert.equal(placesOf([{place: "", entry: "bin 2"}]), "bin 2");
  const many = Array.from({length: 5}, (_, i) => ({place: `layers.${i}`, entry: null}));
  assert.equal(placesOf(many), "layers.0, layers.1, layers.2, and 2 more");
  const entries = Array.from({length: 4}, (_, i) => ({place: "vq", entry: `code ${i}`}));
  assert.equal(placesOf(entries), "vq (code 0, code 1, code 2, and 1 more)");
});

test("the maps of the family are chosen, and of a policy what each kind of token does", () => {
  const figures = [
    {name: "policy-entropy", family: "policy entropy"},
    {name: "entropy-ledger", family: "RL signal"},
    {name: "entries.expert_load", family: "experts"},
    {name: "entries.code_use", family: "codebook"},
  ];
  const names = (/** @type {string} */ family, /** @type {string[]} */ fired = []) => whichOf(figures, family, fired).map((one) => one.name);
  assert.deepEqual(names("policy entropy"), ["entropy-ledger"]);
  assert.deepEqual(names("experts"), ["entries.expert_load"]);
  assert.deepEqual(names("experts", ["expert_load"]), []);
  assert.deepEqual(names("optimiser"), []);
});
