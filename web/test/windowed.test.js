import assert from "node:assert/strict";
import {test} from "node:test";
import {slice} from "../foreshock_web/static/windowed.js";

test("at the top only what is in sight is drawn, and a little below", () => {
  const [first, last] = slice(-200, 900, 60, 10_000);
  assert.equal(first, 0);
  assert.ok(last >= 12 && last < 40);
});

test("in the middle there is some on either side", () => {
  const [first, last] = slice(300_000, 900, 60, 10_000);
  assert.ok(first < 5000 && first > 4950);
  assert.ok(last > 5015 && last < 5050);
});

test("beyond the end there is nothing, and a short list is whole", () => {
  const [first, last] = slice(700_000, 900, 60, 10_000);
  assert.ok(last === 10_000 && first <= last);
  assert.deepEqual(slice(0, 900, 60, 3), [0, 3]);
  assert.deepEqual(slice(0, 900, 60, 0), [0, 0]);
});
