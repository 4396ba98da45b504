// @ts-check
import assert from "node:assert/strict";
import {test} from "node:test";

import {asCsv, field, matrixCsv} from "../foreshock_web/static/csv.js";
import {Look, PLAIN, arranged, fromAddress, middles, mustAsk, placeOf, stepAt, toAddress} from "../foreshock_web/static/look.js";
import {nearest, zoomed} from "../foreshock_web/static/pointing.js";

const ruler = {steps: [0, 100, 200], at: [0, 1, 3]};
const line = (/** @type {number[]} */ y, more = {}) => ({type: "scatter", mode: "lines", x: Float64Array.from(y, (_, i) => i), y: Float64Array.from(y), meta: "loss", legendgroup: "loss", ...more});
const figure = (/** @type {any[]} */ data, meta = {}) => ({data, layout: {xaxis: {}, yaxis: {rangemode: "tozero"}, meta: {axes: ["xaxis"], x: "step", thinned: false, ruler: null, ...meta}}});

test("an address says what is not as usual, and is read back", () => {
  const choice = /** @type {const} */ ({x: "time", log: true, smooth: "wide", first: 10, last: null});
  const said = Object.entries(toAddress(choice)).filter(([, value]) => value !== null);
  assert.deepEqual(fromAddress(new URLSearchParams(said.map(([name, value]) => [name, String(value)]))), choice);
  assert.deepEqual(Object.values(toAddress(PLAIN)), [null, null, null, null, null]);
});

test("an address that makes no sense is the usual look", () => {
  assert.deepEqual(fromAddress(new URLSearchParams("x=moons&first=9&last=3&smooth=much&log=yes")), PLAIN);
  assert.deepEqual(fromAddress(new URLSearchParams("first=1e9&last=x")), PLAIN);
});

test("a step and its place on another axis find each other", () => {
  for (const step of [0, 50, 100, 150, 200]) assert.equal(stepAt(ruler, placeOf(ruler, step)), step);
  assert.equal(placeOf(ruler, 150), 2);
  assert.equal(placeOf(null, 7), 7);
});

test("only what is not there is asked for again", () => {
  const whole = {first: null, last: null};
  const part = {...PLAIN, first: 10, last: 20};
  assert.equal(mustAsk(null, whole, PLAIN), true);
  assert.equal(mustAsk(figure([]), whole, PLAIN), false);
  assert.equal(mustAsk(figure([]), whole, part), false, "all readings are there");
  assert.equal(mustAsk(figure([], {thinned: true}), whole, part), true);
  assert.equal(mustAsk(figure([]), {first: 10, last: 20}, part), false);
  assert.equal(mustAsk(figure([]), {first: 10, last: 20}, PLAIN), true);
  assert.equal(mustAsk(figure([]), whole, {...PLAIN, x: "time"}), true);
});

test("a range is every step axis's range, and an open end grows with the run", () => {
  assert.deepEqual(arranged(figure([]), {...PLAIN, first: 10, last: 20}).figure.layout.xaxis.range, [10, 20]);
  const open = arranged(figure([], {ruler}), {...PLAIN, first: 100}).figure.layout.xaxis;
  assert.deepEqual([open.range, open.autorange], [[1, null], "max"]);
  assert.equal(arranged(figure([]), PLAIN).figure.layout.xaxis.range, undefined);
});

test("no smoothing hides the raw line", () => {
  const data = [line([1, 5, 1], {line: {width: 1}, showlegend: false}), line([2, 2, 2], {meta: "course", line: {width: 2, color: "red"}})];
  for (const smooth of /** @type {const} */ (["raw", "medians", "wide"])) {
    const shown = arranged(figure(data), {...PLAIN, smooth}).figure.data;
    assert.deepEqual([...shown[0].y], [1, 5, 1], smooth);
  }
  const raw = arranged(figure(data), {...PLAIN, smooth: "raw"}).figure.data;
  assert.equal(raw.length, 1);
  assert.equal(raw[0].line.color, "red");
  assert.equal(raw[0].showlegend, true);
});

test("a wide median is that of seven, and a break stays one", () => {
  assert.deepEqual([...middles([0, 0, 0, 9, 0, 0, 0])], [0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual([...middles([1, Number.NaN, 3])], [2, Number.NaN, 2]);
});

test("a logarithmic scale counts what it has no place for", () => {
  const {figure: shown, hidden} = arranged(figure([line([1, 0, -2, 4])]), {...PLAIN, log: true});
  assert.equal(shown.layout.yaxis.type, "log");
  assert.equal(hidden, 2);
  const none = arranged(figure([line([0, 0])]), {...PLAIN, log: true});
  assert.equal(none.figure.layout.yaxis.type, undefined, "nothing to show there");
});

test("those who look hear of a change, and of none when nothing changed", () => {
  const look = new Look();
  let heard = 0;
  look.onChange.add(() => (heard += 1));
  look.choose({first: 3});
  look.choose({first: 3});
  assert.equal(heard, 1);
});

test("a zoom is told in steps, on whichever axis it was made", () => {
  const meta = {axes: ["xaxis"], ruler: null};
  assert.deepEqual(zoomed({"xaxis.range[0]": 10.4, "xaxis.range[1]": 40.6}, meta), {first: 11, last: 40});
  assert.deepEqual(zoomed({"xaxis.range": [10, 40]}, meta), {first: 10, last: 40});
  assert.deepEqual(zoomed({"xaxis.range": [1, 2]}, {axes: ["xaxis"], ruler}), {first: 100, last: 150});
  assert.deepEqual(zoomed({"xaxis.range": [10.2, 10.6]}, meta), {first: 10, last: 11}, "never nothing");
  assert.deepEqual(zoomed({"xaxis.autorange": true}, meta), {first: null, last: null});
  assert.equal(zoomed({"yaxis.range[0]": 1}, meta), null);
});

test("the nearest reading is found", () => {
  assert.deepEqual([-5, 0, 4, 6, 99].map((wanted) => nearest([0, 5, 10], wanted)), [0, 0, 1, 1, 2]);
  assert.equal(nearest([3], 99), 0);
});

test("numbers leave as CSV, with their names and what is no number", () => {
  assert.equal(field('a,"b"'), '"a,""b"""');
  assert.equal(asCsv({series: [{key: "x{a=1,b=2}", axis: null, steps: [1, 2], times: [0.5, 1.5], values: [3, "NaN"]}]}), 'key,step,time,value\r\n"x{a=1,b=2}",1,0.5,3\r\n"x{a=1,b=2}",2,1.5,NaN\r\n');
  assert.equal(asCsv({series: [{key: "v", axis: {name: "head", size: 2}, steps: [1], times: [0], values: [[5, 6]]}]}), "key,entry,step,time,value\r\nv,0,1,0,5\r\nv,1,1,0,6\r\n");
  const bdata = Buffer.from(Float32Array.of(1, 2).buffer).toString("base64");
  assert.equal(matrixCsv({series: ["k"], edges: [0, 10, 20], values: {dtype: "f4", bdata}}), "key,from,to,mean\r\nk,0,10,1\r\nk,10,20,2\r\n");
});
