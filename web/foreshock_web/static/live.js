// @ts-check
// A stream of hints "something changed", kept up through restarts of the server; and the calm with which the page follows it.

import {get, streamUrl} from "./api.js";

const SLOWEST = 10_000;
const PAUSE = 5; // so what a page does about news takes a sixth of the time at most

/**
 * Listen until the signal says stop. The stream is closed while nobody looks, since a browser allows only six to one host.
 * @param {string} stream path below the API's root
 * @param {{
 *   onChange: (data: any) => void,
 *   onState: (state: "live" | "reconnecting" | "deleted") => void,
 *   onReturn: () => void,
 *   signal: AbortSignal,
 * }} options `onReturn` is called when the stream is back after a break: hints may have been missed
 */
export function follow(stream, {onChange, onState, onReturn, signal}) {
  let cursor = "";
  let wait = 500;
  let broken = false;
  let gone = false;
  /** @type {EventSource | null} */
  let source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function open() {
    close();
    if (gone || signal.aborted || document.hidden) return;
    source = new EventSource(streamUrl(stream, cursor));
    source.addEventListener("open", () => {
      wait = 500;
      onState("live");
      if (broken) onReturn();
      broken = false;
    });
    source.addEventListener("change", (event) => {
      const message = /** @type {MessageEvent<string>} */ (event);
      if (message.lastEventId) cursor = message.lastEventId;
      onChange(JSON.parse(message.data));
    });
    source.addEventListener("deleted", () => {
      gone = true;
      close();
      onState("deleted");
    });
    source.addEventListener("error", () => {
      // The browser's own retry gives up for good on some answers (a proxy's 502): so it is ours.
      close();
      broken = true;
      onState("reconnecting");
      void leaveIfSignedOut();
      timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, SLOWEST);
    });
  }

  /** A stream does not say why it ended: the key may have been revoked, or the session be over. */
  async function leaveIfSignedOut() {
    try {
      const session = await get("/session");
      if (session.needed && !session.open && !signal.aborted) window.dispatchEvent(new Event("foreshock:unauthorized"));
    } catch {
      // the server is away: the next try will tell
    }
  }

  function look() {
    if (document.hidden) {
      broken = true;
      close();
    } else if (!source) {
      wait = 500;
      open();
    }
  }

  document.addEventListener("visibilitychange", look, {signal});
  window.addEventListener("online", open, {signal});
  signal.addEventListener("abort", close);
  open();
}

/**
 * A trigger that runs the work soon, never twice at a time, and leaves a pause after each run:
 * at least `least` milliseconds, and PAUSE times as long as the work took, up to SLOWEST.
 * @param {() => Promise<void>} work
 * @param {number} least
 * @param {() => number} [clock]
 */
export function calm(work, least, clock = () => performance.now()) {
  let wanted = false;
  let busy = false;
  async function run() {
    busy = true;
    while (wanted) {
      wanted = false;
      const began = clock();
      try {
        await work();
      } catch (error) {
        const left = error instanceof Error && error.name === "AbortError"; // the view that wanted it is gone
        if (!left) console.warn(error); // the next hint tries again
      }
      const took = clock() - began;
      await new Promise((resolve) => setTimeout(resolve, Math.max(least, Math.min(PAUSE * took, SLOWEST))));
    }
    busy = false;
  }
  return () => {
    wanted = true;
    if (!busy) void run();
  };
}
