import assert from "node:assert/strict";
import {test} from "node:test";
import {HEIGHT, shape, WIDTH} from "../foreshock_web/static/spark.js";

const points = (line) => [...line.matchAll(/([ML])([-\d.]+) ([-\d.]+)/g)].map(([, pen, x, y]) => [pen, Number(x), Number(y)]);

test("a line runs from the left edge to the right one and stays inside", () => {
  const found = points(shape([0, 50, 100], [1, 3, 2]).line);
  assert.deepEqual(found.map(([pen]) => pen), ["M", "L", "L"]);
  assert.ok(found[0][1] < 5 && found[2][1] > WIDTH - 5);
  assert.ok(found.every(([, , y]) => y >= 0 && y <= HEIGHT));
});

test("a higher reading is drawn higher", () => {
  const [[, , low], [, , high]] = points(shape([0, 1], [1, 2]).line);
  assert.ok(high < low);
});

test("NaN breaks the line and is marked, in the middle and at the end", () => {
  const middle = shape([0, 1, 2, 3], [1, "NaN", 2, 3]);
  assert.deepEqual(points(middle.line).map(([pen]) => pen), ["M", "M", "L"]);
  assert.equal(middle.odd.length, 1);
  const end = shape([0, 1, 2], [1, 2, "Infinity"]);
  assert.ok(end.odd[0] > /** @type {[number, number]} */ (end.end)[0]);
});

test("a gap breaks the line without a mark", () => {
  const gap = shape([0, 1, 2], [1, null, 2]);
  assert.deepEqual([points(gap.line).map(([pen]) => pen), gap.odd], [["M", "M"], []]);
});

test("a resumed run begins a new line where it went back to", () => {
  const found = points(shape([0, 10, 20, 5, 15], [1, 1, 1, 1, 1]).line);
  assert.deepEqual(found.map(([pen]) => pen), ["M", "L", "L", "M", "L"]);
});

test("noise on a high level looks as small as it is", () => {
  const [[, , first], [, , second]] = points(shape([0, 1], [100, 101]).line);
  assert.ok(Math.abs(first - second) < 1);
});

test("nothing but NaN has marks and no line", () => {
  const none = shape([0, 1], ["NaN", "NaN"]);
  assert.deepEqual([none.line, none.end, none.odd.length], ["", null, 2]);
});
