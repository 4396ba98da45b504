import assert from "node:assert/strict";
import {test} from "node:test";
import {age, duration, number, plural, quantity, sentence, steps} from "../foreshock_web/static/format.js";

const plain = (text) => text.replaceAll("\u00a0", " ").replaceAll("\u2212", "-");

test("a reading has at most four significant digits", () => {
  assert.deepEqual(
    [0, 1, 0.31234, 12.3456, 1234.56, 12345.6, 0.00004, 1e9].map((x) => plain(number(x))),
    ["0", "1", "0.312", "12.35", "1234.6", "12,346", "4.00e-5", "1.00e9"],
  );
});

test("what is no number says so", () => {
  assert.deepEqual(["NaN", "Infinity", "-Infinity"].map((x) => plain(number(/** @type {any} */ (x)))), ["NaN", "∞", "-∞"]);
  assert.equal(number(null), "–");
});

test("a negative number carries a minus sign, not a hyphen", () => {
  assert.equal(number(-0.25), "\u22120.25");
});

test("a unit stays with its number, and a share needs none", () => {
  assert.equal(quantity(0.31, "nat"), "0.31\u00a0nat");
  assert.equal(quantity(0.5, "share"), "0.5");
  assert.equal(quantity(null, "nat"), "–");
});

test("a duration has two units at most", () => {
  assert.deepEqual([3, 75, 3600, 11_520, 190_000].map((s) => plain(duration(s))), ["3 s", "1 min 15 s", "1 h", "3 h 12 min", "2 d 4 h"]);
});

test("an age has one unit", () => {
  assert.deepEqual([1, 40, 200, 7300, 200_000].map((s) => plain(age(1000, 1000 + s))), ["now", "40 s ago", "3 min ago", "2 h ago", "2 d ago"]);
});

test("one is not many", () => {
  assert.deepEqual([plural(1, "run"), plural(0, "run"), plural(1200, "family", "families")], ["1 run", "0 runs", "1,200 families"]);
});

test("a range of one step is a step", () => {
  assert.deepEqual([steps(5, 5), steps(1, 1200)], ["step 5", "steps 1 to 1,200"]);
});

test("no line breaks before a percent sign", () => {
  assert.equal(sentence("38 % of baseline"), "38\u00a0% of baseline");
});
