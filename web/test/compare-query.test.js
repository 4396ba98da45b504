import assert from "node:assert/strict";
import {test} from "node:test";
import {lines, read, request, usual, write} from "../foreshock_web/static/compare-query.js";

test("a comparison comes back from the address as it went in", () => {
  const way = {runs: ["a", "b"], keys: ["loss", "rank{place=h.1}"], align: "alert", rule: "collapse", seeds: true, healthy: true, side: true};
  assert.deepEqual(read(write(way)), way);
});

test("the same run is compared once, and an unknown axis is that of steps", () => {
  const way = read("?runs=a,b,,a&align=mood");
  assert.deepEqual([way.runs, way.align], [["a", "b"], "step"]);
});

test("side by side there are as many columns as there is room and runs for", () => {
  const way = read("?runs=a,b,c&layout=side");
  const columns = (width) => new URLSearchParams(request(way, "loss", "light", width)).get("columns");
  assert.deepEqual([columns(350), columns(700), columns(1400)], ["1", "2", "3"]);
  assert.equal(new URLSearchParams(request(read("?runs=a,b"), "loss", "light", 900)).get("columns"), "0");
});

test("a notebook is told the same", () => {
  const text = lines(read("?runs=a,b&align=time&group=seeds"), "loss", "http://h");
  assert.match(text, /client\.compare\(/);
  assert.match(text, /align="time"/);
  assert.match(text, /group="seeds"/);
});

test("what leads the runs is drawn first, then a series of each other family that several have", () => {
  const series = [
    {key: "policy_entropy", family: "policy entropy", runs: 2},
    {key: "policy_top1", family: "policy entropy", runs: 2},
    {key: "loss", family: "training", runs: 2},
    {key: "odd", family: "numerics", runs: 1},
  ];
  const runs = [{lead: {key: "policy_entropy"}}, {lead: null}];
  assert.deepEqual(usual({runs, series}), ["policy_entropy", "loss"]);
});
