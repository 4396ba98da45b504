import assert from "node:assert/strict";
import {test} from "node:test";
import {calm} from "../foreshock_web/static/live.js";

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("many hints make few runs, never two at a time, and the last hint is heard", async () => {
  let running = 0;
  let most = 0;
  let runs = 0;
  const trigger = calm(async () => {
    most = Math.max(most, (running += 1));
    runs += 1;
    await wait(5);
    running -= 1;
  }, 20);
  for (let i = 0; i < 30; i += 1) {
    trigger();
    await wait(2);
  }
  const before = runs;
  trigger();
  await wait(300);
  assert.equal(most, 1);
  assert.ok(runs > before, "the last hint ran");
  assert.ok(runs <= 8, `${runs} runs`);
});

test("a run that fails does not end the listening", async () => {
  const warn = console.warn;
  console.warn = () => {};
  let runs = 0;
  const trigger = calm(async () => {
    runs += 1;
    throw new Error("away");
  }, 1);
  trigger();
  await wait(10);
  trigger();
  await wait(10);
  console.warn = warn;
  assert.equal(runs, 2);
});

test("work that takes long is followed by a longer pause", async () => {
  let now = 0;
  let runs = 0;
  const trigger = calm(
    async () => {
      runs += 1;
      now += 30;
    },
    1,
    () => now,
  );
  trigger();
  trigger();
  await wait(20);
  assert.equal(runs, 1);
  await wait(200);
  assert.equal(runs, 2);
});
