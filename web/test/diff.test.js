import assert from "node:assert/strict";
import {test} from "node:test";

import {difference} from "../foreshock_web/static/diff.js";

const drawn = (before, after) => difference(before, after).map(({kind, text}) => ({same: " ", in: "+", out: "-", gap: "~"})[kind] + text);

test("what went and what came, with two lines around it", () => {
  const before = "a\nb\nc\nd\ne\nf\n";
  assert.deepEqual(drawn(before, before.replace("d", "D")), [" b", " c", "-d", "+D", " e", " f"]);
});

test("the same text has no difference, and a new one is all new", () => {
  assert.deepEqual(drawn("a\nb\n", "a\nb\n"), []);
  assert.deepEqual(drawn("", "a\nb\n"), ["+a", "+b"]);
  assert.deepEqual(drawn("a\n", ""), ["-a"]);
});

test("changes far apart have a gap between them", () => {
  const lines = Array.from({length: 12}, (_, i) => String(i));
  const after = lines.with(0, "x").with(11, "y");
  assert.deepEqual(drawn(lines.join("\n"), after.join("\n")), ["-0", "+x", " 1", " 2", "~…", " 9", " 10", "-11", "+y"]);
});
