// Not a module, so that it runs before the first paint: the chosen theme must not flash.
try {
  const chosen = localStorage.getItem("foreshock-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // nothing is stored here; the system's preference holds
}
