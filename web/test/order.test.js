import assert from "node:assert/strict";
import {test} from "node:test";
import {grouped, openFirst} from "../foreshock_web/static/order.js";

const family = (name, state = "fine", episodes = 0) => ({family: name, state, episodes});
const open = (...families) => [...openFirst(grouped({families, figures: []}))];

test("each family has its figures, in the server's order", () => {
  const figures = [{name: "x", family: "a"}, {name: "y", family: "b"}, {name: "z", family: "b"}];
  const groups = grouped({families: [family("b"), family("a")], figures: /** @type {any} */ (figures)});
  assert.deepEqual(groups.map((group) => [group.family, group.figures.map((figure) => figure.name)]), [["b", ["y", "z"]], ["a", ["x"]]]);
});

test("families in trouble are open, the others folded", () => {
  assert.deepEqual(open(family("a", "watch"), family("b"), family("c", "fine", 3)), ["a"]);
});

test("when nothing is wrong, what was wrong is open", () => {
  assert.deepEqual(open(family("a"), family("b"), family("c", "fine", 3)), ["c"]);
});

test("when nothing ever was, the first two are open", () => {
  assert.deepEqual(open(family("a"), family("b"), family("c")), ["a", "b"]);
});
