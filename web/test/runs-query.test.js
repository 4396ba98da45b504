import assert from "node:assert/strict";
import {test} from "node:test";
import {narrowed, read, request, turned, write} from "../foreshock_web/static/runs-query.js";

const NOW = 1_790_000_000;

test("the usual view has a bare address", () => {
  assert.equal(write(read("")), "");
  assert.equal(narrowed(read("")), false);
});

test("every choice comes back from the address as it went in", () => {
  const view = {q: "otter & co", project: "a/b", state: "failed", verdict: "watch", tags: ["x", "y z"], owner: "ada", started: "between", from: "2026-11-01", until: "2026-11-02", shelf: "archived", sort: "name"};
  assert.deepEqual(read(write(view)), view);
  assert.equal(narrowed(read(write(view))), true);
});

test("an address that makes no sense is the usual view", () => {
  const view = read("?sort=mood&shelf=attic");
  assert.deepEqual([view.sort, view.shelf], ["-updated", ""]);
});

test("what is asked for says so in the API's words", () => {
  const asked = request(read("?q=ada&tag=x&tag=y&started=7d&shelf=trash&sort=-verdict"), NOW);
  assert.equal(asked.get("q"), "ada");
  assert.deepEqual(asked.getAll("tag"), ["x", "y"]);
  assert.equal(asked.get("created_from"), String(NOW - 7 * 86_400));
  assert.equal(asked.get("trashed"), "true");
  assert.equal(asked.get("sort"), "-verdict");
});

test("the last day of a range is within it", () => {
  const asked = request(read("?started=between&from=2026-11-01&until=2026-11-01"), NOW);
  assert.equal(Number(asked.get("created_until")) - Number(asked.get("created_from")), 86_400);
  assert.equal(request(read("?started=between&from=soon"), NOW).has("created_from"), false);
});

test("a head turns its own order, and another begins with the worst or the latest", () => {
  assert.equal(turned("-updated", "updated"), "updated");
  assert.equal(turned("updated", "updated"), "-updated");
  assert.equal(turned("-updated", "verdict"), "-verdict");
  assert.equal(turned("-updated", "name"), "name");
});
