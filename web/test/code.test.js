// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import {firstLines, KEY} from "../foreshock_web/static/code.js";

test("a server that asks nobody for a key gets lines without one", () => {
  const {shell, script} = firstLines("http://127.0.0.1:8642", {needed: false, project: null});
  assert.ok(!shell.includes("KEY"));
  assert.match(script, /url="http:\/\/127\.0\.0\.1:8642"/);
  assert.match(script, /project="my-project"/);
});

test("with keys the shell gets one, and a key of one project names it", () => {
  const {shell, script} = firstLines("https://foreshock.example.org", {needed: true, project: "grpo \"x\""}, "fsk_1_2");
  assert.match(shell, /^export FORESHOCK_API_KEY=fsk_1_2$/m);
  assert.match(script, /project="grpo \\"x\\""/);
  assert.match(firstLines("https://a", {needed: true, project: null}).shell, new RegExp(`=${KEY}$`));
});
