// @ts-check
// Reads the address bar, shows the view it names, and keeps the frame around it: theme, connection, sign-in.

import {ApiError, get} from "./api.js";
import {fill, h, say} from "./dom.js";
import {icon} from "./icons.js";
import {askForKey, showSession} from "./login.js";
import {theme, toggle} from "./theme.js";

/**
 * What a view gets from the frame.
 * @typedef {object} Context
 * @property {AbortSignal} signal ends when another view is shown
 * @property {(state: "live" | "reconnecting" | "deleted") => void} onLive
 * @property {(title: string) => void} title
 */

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const notice = /** @type {HTMLElement} */ (document.getElementById("notice"));
const session = /** @type {HTMLElement} */ (document.getElementById("session"));
const themeButton = /** @type {HTMLButtonElement} */ (document.getElementById("theme"));

let leave = new AbortController();
let asking = false;

/** @typedef {(root: HTMLElement, context: Context, ...parts: string[]) => Promise<void>} View */

// Each view with all that only it needs comes when it is first shown; the server knows them too (app/frame.py), to name the files beforehand.
/** @type {[RegExp, () => Promise<View>][]} */
const VIEWS = [
  [/^\/$/, async () => (await import("./runs.js")).showRuns],
  [/^\/runs\/([^/]+)\/?$/, async () => (await import("./run.js")).showRun],
  [/^\/compare\/?$/, async () => (await import("./compare.js")).showCompare],
  [/^\/incidents\/?$/, async () => (await import("./incidents.js")).showIncidents],
  [/^\/incidents\/([^/]+)\/([0-9]+)\/?$/, async () => (await import("./incident.js")).showIncident],
  [/^\/rules\/?$/, async () => (await import("./rules.js")).showRules],
  [/^\/rules\/new\/?$/, async () => (await import("./rule-editor.js")).showNewRule],
  [/^\/rules\/([^/]+)\/?$/, async () => (await import("./rule-editor.js")).showRule],
  [/^\/reference\/?$/, async () => (await import("./reference.js")).showReference],
  [/^\/reference\/([^/]+)\/?$/, async () => (await import("./reference.js")).showReference],
  [/^\/settings\/?$/, async () => (await import("./settings.js")).showSettings],
];

/** Show what the address bar says. @param {boolean} [moved] by a link: the new heading takes the focus */
async function show(moved = false) {
  leave.abort();
  leave = new AbortController();
  const {signal} = leave;
  onLive("live");
  const root = h("div", {class: "view"});
  const waiting = setTimeout(() => signal.aborted || root.childElementCount > 0 || fill(root, h("p", {class: "loading muted", role: "status"}, "Loading…")), 300);
  fill(main, root);
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === "/" ? /^\/(runs\/.*|compare\/?)?$/.test(location.pathname) : location.pathname.startsWith(link.getAttribute("href") ?? "-");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    for (const [pattern, load] of VIEWS) {
      const match = pattern.exec(location.pathname);
      if (!match) continue;
      const view = await load().catch((error) => {
        if (error instanceof TypeError) return null; // its files did not come
        throw error;
      });
      if (signal.aborted) return;
      if (view === null) {
        away(root, signal, () => void startAnew(signal));
        return;
      }
      await view(root, {signal, onLive, title}, ...match.slice(1).map(decodeURIComponent));
      if (moved && !signal.aborted) root.querySelector("h1")?.focus();
      return;
    }
    fail(root, "There is no such page.", "");
  } catch (error) {
    if (signal.aborted || (error instanceof ApiError && error.status === 401)) return;
    if (error instanceof ApiError && error.status === 0) {
      away(root, signal, () => void show());
    } else {
      fail(root, error instanceof Error ? error.message : String(error), "");
      if (!(error instanceof ApiError)) console.error(error);
    }
  } finally {
    clearTimeout(waiting);
  }
}

const AGAIN = 3000; // milliseconds until what did not come is asked for again

/** @param {HTMLElement} root @param {AbortSignal} signal @param {() => void} again */
function away(root, signal, again) {
  fail(root, "The server does not answer.", "This page tries again by itself.");
  const timer = setTimeout(again, AGAIN);
  signal.addEventListener("abort", () => clearTimeout(timer));
}

/** A module that did not come once comes no more while the page lives: so the page begins anew, as soon as the server is back. @param {AbortSignal} signal */
async function startAnew(signal) {
  try {
    await get("/session", signal);
    location.reload();
  } catch {
    if (!signal.aborted) setTimeout(() => void startAnew(signal), AGAIN);
  }
}

/** @param {HTMLElement} root @param {string} what @param {string} more */
function fail(root, what, more) {
  title(what);
  fill(root, h("section", {class: "card failure"}, h("h1", {tabindex: -1}, what), more && h("p", {class: "muted"}, more), h("p", null, h("a", {href: "/"}, "All runs"))));
}

/** @param {string} text */
function title(text) {
  document.title = `${text} · Foreshock`;
}

const NOTICES = {
  live: "",
  reconnecting: "The server does not answer. Reconnecting; what is shown is the last that arrived.",
  deleted: "This run was deleted. What is shown is the last that arrived.",
};

/** @param {keyof typeof NOTICES} state */
function onLive(state) {
  notice.hidden = state === "live";
  say(notice, NOTICES[state]);
}

function showWho() {
  void showSession(session, () => window.dispatchEvent(new Event("foreshock:unauthorized")));
}

function showTheme() {
  const other = theme() === "dark" ? "light" : "dark";
  fill(themeButton, icon(other === "light" ? "sun" : "moon"), h("span", {class: "hidden"}, `Use the ${other} theme`));
  themeButton.title = `Use the ${other} theme`;
}

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || link.target || link.hasAttribute("download") || to.hash || !VIEWS.some(([pattern]) => pattern.test(to.pathname))) return;
  event.preventDefault();
  history.pushState(null, "", to);
  window.scrollTo(0, 0);
  void show(true);
});
window.addEventListener("popstate", () => void show());
window.addEventListener("foreshock:theme", showTheme);
window.addEventListener("foreshock:session", showWho);
window.addEventListener("foreshock:unauthorized", async () => {
  if (asking) return;
  asking = true;
  leave.abort();
  onLive("live");
  fill(session);
  await askForKey(main, title);
  asking = false;
  showWho();
  await show(true);
});
themeButton.addEventListener("click", toggle);
showTheme();
showWho();
await show();
