// @ts-check
// Light or dark: what the system says until somebody chooses, then what was chosen. first-paint.js applies it before the first paint.

const KEY = "foreshock-theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** @returns {"light" | "dark"} the theme in use */
export function theme() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
}

/** Choose the other one, and remember it. */
export function toggle() {
  const next = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // a browser that stores nothing forgets it at the next visit
  }
  window.dispatchEvent(new Event("foreshock:theme"));
}

dark.addEventListener("change", () => window.dispatchEvent(new Event("foreshock:theme")));
