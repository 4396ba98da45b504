// @ts-check
import assert from "node:assert/strict";
import {test} from "node:test";

import {grown, joined, numbers} from "../foreshock_web/static/growth.js";

const written = (/** @type {ArrayBufferView} */ line, /** @type {string} */ dtype) => ({dtype, bdata: Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString("base64")});
const figure = (/** @type {any[]} */ data, /** @type {number[]} */ kept) => ({data: data.map(([x, y]) => ({type: "scatter", x, y})), layout: {meta: {kept, mark: "m"}}});

test("numbers are read in the type in which they were written", () => {
  assert.deepEqual([...Array.from(numbers(written(Int16Array.of(1, -300), "i2")))], [1, -300]);
  assert.deepEqual(Array.from(numbers(written(Float64Array.of(0.1, Number.NaN), "f8"))), [0.1, Number.NaN]);
  assert.deepEqual(numbers([1, 2]), [1, 2]);
});

test("a line grows behind what stays, also where steps need more bits than before", () => {
  const first = grown(null, figure([[written(Int8Array.of(1, 2, 3), "i1"), written(Float64Array.of(5, 6, 7), "f8")]], [0]));
  const then = grown(first, figure([[written(Int16Array.of(3, 400), "i2"), written(Float64Array.of(7.5, 8), "f8")]], [2]));
  assert.deepEqual(Array.from(then.data[0].x), [1, 2, 3, 400]);
  assert.deepEqual(Array.from(then.data[0].y), [5, 6, 7.5, 8]);
});

test("a line of which nothing is kept is the new one, and what is no line stays as it came", () => {
  const old = grown(null, figure([[[1, 2], [3, 4]]], [0]));
  const news = {data: [{type: "heatmap", z: [[1]]}, {type: "scatter", x: [9], y: [8]}], layout: {meta: {kept: [0, 0], mark: "0"}}};
  assert.deepEqual(grown(old, news).data, [{type: "heatmap", z: [[1]]}, {type: "scatter", x: [9], y: [8]}]);
});

test("a line to which nothing came is the very same, so that nothing is drawn again", () => {
  const line = Float64Array.of(1, 2);
  assert.equal(joined(line, 2, []), line);
});
