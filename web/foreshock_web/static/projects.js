// @ts-check
// Projects: how long the runs of each are kept.

import {get, path, put} from "./api.js";
import {each, fill, h, say} from "./dom.js";
import {age, integer, plural} from "./format.js";

/** @typedef {import("./types.js").Project} Project */

/**
 * The part about projects.
 * @param {AbortSignal} signal
 */
export function projects(signal) {
  const list = h("ul", {class: "channels"});
  const none = h("p", {class: "muted", hidden: true}, "No project yet: it begins with its first run.");
  const element = h("section", {"aria-labelledby": "projects-title", class: "part"}, h("h2", {id: "projects-title"}, "Projects"), h("p", {class: "muted"}, "Runs without a change for longer are deleted; without a number they are kept."), none, list);

  async function load() {
    const found = await get("/projects", signal);
    none.hidden = found.projects.length > 0;
    each(list, found.projects, (one) => one.project, make, update);
  }

  /** @param {Project} project */
  function make(project) {
    const days = h("input", {type: "number", min: 0.01, max: 36500, step: "any", class: "days", "aria-label": `Days that runs of ${project.project} are kept`, placeholder: "kept"});
    const result = h("span", {class: "channel-result", role: "status"});
    async function save() {
      result.className = "channel-result";
      try {
        const settled = await put(path`/projects/${project.project}`, {retention_days: days.value === "" ? null : Number(days.value)});
        say(result, settled.retention_days === null ? "Runs are kept." : `Runs are deleted ${plural(settled.retention_days, "day")} after their last change.`);
        await load();
      } catch (error) {
        result.classList.add("bad");
        say(result, error instanceof Error ? error.message : String(error));
      }
    }
    return h(
      "li",
      {class: "card channel"},
      h("div", {class: "channel-head"}, h("strong", null, project.project), h("span", {class: "channel-kind muted"})),
      h(
        "form",
        {
          class: "channel-actions",
          onsubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            void save();
          },
        },
        days,
        h("span", null, "days"),
        h("button", {type: "submit", "aria-label": `Save for ${project.project}`}, "Save"),
        result,
      ),
    );
  }

  return {element, load};
}

/** @param {Element} element @param {Project} project */
function update(element, project) {
  const about = [plural(project.runs, "run"), `${integer(project.points)} readings`, project.updated_at !== null && `changed ${age(project.updated_at, Date.now() / 1000)}`].filter(Boolean);
  fill(/** @type {Element} */ (element.querySelector(".channel-kind")), about.join(" · "));
  const days = /** @type {HTMLInputElement} */ (element.querySelector(".days"));
  if (document.activeElement !== days) days.value = project.retention_days === null ? "" : String(project.retention_days);
}
