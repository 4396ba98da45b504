// @ts-check
// What the view of a run asks for first, asked for as soon as this file is there: the view itself is thirty files.

import {askAhead, path, query} from "./api.js";
import {fetchAhead} from "./plot.js";

const BINS = {wide: 120, narrow: 48};

/** @param {string} id */
export const questions = (id) => ({
  run: path`/runs/${id}`,
  verdict: path`/runs/${id}/verdict` + query({bins: window.innerWidth < 700 ? BINS.narrow : BINS.wide}),
  alerts: path`/runs/${id}/alerts`,
  incidents: path`/runs/${id}/incidents`,
  figures: path`/runs/${id}/figures`,
});

const run = /^\/runs\/([^/]+)\/?$/.exec(location.pathname);
if (run) {
  for (const one of Object.values(questions(decodeURIComponent(run[1])))) askAhead(one);
  fetchAhead();
}
