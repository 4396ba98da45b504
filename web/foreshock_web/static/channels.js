// @ts-check
// Channels: where alerts go. Secrets go in and are never shown again.

import {ApiError, get, getIfAllowed, patch, path, post, query, remove} from "./api.js";
import {sure} from "./confirm.js";
import {each, fill, h, say} from "./dom.js";
import {age, plural} from "./format.js";
import {notForYou} from "./login.js";

/** @typedef {import("./types.js").Channel} Channel */

/** @typedef {{label: string, url: string, urlLeftOut?: boolean, secret?: string, needed?: boolean}} Kind what its url looks like; what its secret is, where it has one */
/** @type {Record<string, Kind>} */
const KINDS = {
  slack: {label: "Slack", url: "https://hooks.slack.com/services/…", secret: "Token of a bot (xoxb-…), only with https://slack.com/api/chat.postMessage?channel=C…"},
  webhook: {label: "Webhook", url: "https://example.org/hooks/foreshock", secret: "Secret to sign with (whsec_…); made when left out"},
  discord: {label: "Discord", url: "https://discord.com/api/webhooks/…"},
  teams: {label: "Microsoft Teams", url: "the workflow's address"},
  email: {label: "E-mail", url: "smtp://user@host:587?from=a@example.org&to=b@example.org", secret: "Password"},
  pagerduty: {label: "PagerDuty", url: "left out, or Europe's address", urlLeftOut: true, secret: "Integration key", needed: true},
  ntfy: {label: "ntfy", url: "https://ntfy.sh/topic", secret: "Access token, if the topic wants one"},
  apprise: {label: "Apprise (everything else)", url: "its address, such as tgram://…"},
};

/**
 * The part about channels.
 * @param {AbortSignal} signal
 */
export function channels(signal) {
  const list = h("ul", {class: "channels"});
  const none = h("p", {class: "muted", hidden: true}, "No channel yet: alerts are shown here and nowhere else.");
  const log = h("p", {class: "muted"});
  const said = h("div", {class: "said", role: "status"});

  async function load() {
    const [answer, sent] = await Promise.all([getIfAllowed("/channels", signal), get(`/deliveries${query({limit: 50})}`, signal)]);
    if (answer === null) {
      notForYou(element, "Channels", "channels");
      return;
    }
    none.hidden = answer.channels.length > 0;
    each(list, answer.channels, (channel) => channel.id, makeChannel, updateChannel);
    const {delivered, waiting, failed} = sent.counts;
    log.hidden = delivered + waiting + failed === 0;
    say(log, `${plural(delivered, "message")} delivered, ${waiting} waiting, ${failed} failed.`);
  }

  /** @param {Channel} channel */
  function makeChannel(channel) {
    const result = h("p", {class: "channel-result", role: "status"});
    const act = (/** @type {() => Promise<string | void>} */ work) => async (/** @type {Event} */ event) => {
      const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
      button.disabled = true;
      result.className = "channel-result";
      say(result, "…");
      try {
        say(result, (await work()) ?? "");
      } catch (error) {
        result.classList.add("bad");
        say(result, error instanceof ApiError ? error.message : String(error));
      } finally {
        button.disabled = false;
      }
    };
    const test = async () => {
      const answer = await post(path`/channels/${channel.id}/test`);
      result.classList.add(answer.delivered ? "good" : "bad");
      return answer.delivered ? `Delivered in ${answer.seconds} s.` : answer.detail;
    };
    const toggle = h("button", {type: "button", class: "channel-toggle", onclick: act(async () => {
      await patch(path`/channels/${channel.id}`, {enabled: toggle.dataset.enabled !== "true"});
      await load();
    })});
    const editable = channel.origin === "api";
    return h(
      "li",
      {class: "card channel"},
      h("div", {class: "channel-head"}, h("strong", {class: "channel-name"}), h("span", {class: "channel-kind muted"}), h("span", {class: "channel-off chip chip-none"}, "disabled")),
      h("p", {class: "channel-url muted"}),
      h(
        "div",
        {class: "channel-actions"},
        h("button", {type: "button", onclick: act(test)}, "Send a test"),
        editable && toggle,
        editable && h("button", {type: "button", class: "danger", onclick: act(async () => {
          if (!(await sure(`Delete the channel “${channel.name}”?`, "What still waits for it will not be sent."))) return;
          await remove(path`/channels/${channel.id}`);
          await load();
        })}, "Delete"),
        !editable && h("span", {class: "muted"}, "set where the server runs"),
        result,
      ),
    );
  }

  /** @param {HTMLElement} element @param {Channel} channel */
  function updateChannel(element, channel) {
    const at = (/** @type {string} */ selector) => /** @type {HTMLElement | null} */ (element.querySelector(selector));
    const text = (/** @type {string} */ selector, /** @type {string} */ value) => {
      const found = at(selector);
      if (found) say(found, value);
    };
    text(".channel-name", channel.name);
    text(".channel-kind", `${channel.kind}${channel.project ? ` · only ${channel.project}` : ""} · added ${age(channel.created_at, Date.now() / 1000)}`);
    text(".channel-url", `${channel.config.url}${channel.config.signed ? " · signed" : ""}`);
    text(".channel-toggle", channel.enabled ? "Disable" : "Enable");
    const toggle = at(".channel-toggle");
    if (toggle) toggle.dataset.enabled = String(channel.enabled);
    const off = at(".channel-off");
    if (off) off.hidden = channel.enabled;
  }

  const kind = h("select", {id: "kind", onchange: showKind}, Object.entries(KINDS).map(([value, {label}]) => h("option", {value}, label)));
  const name = h("input", {id: "name", required: true, maxlength: 100, autocomplete: "off"});
  const url = h("input", {id: "url", inputmode: "url", maxlength: 2000, autocomplete: "off"});
  const secret = h("input", {id: "secret", type: "password", maxlength: 1000, autocomplete: "new-password", "aria-describedby": "secret-about"});
  const secretAbout = h("span", {id: "secret-about", class: "muted"});
  const secretLabel = h("label", {for: "secret"}, "Secret", secret, secretAbout);
  const project = h("input", {id: "project", maxlength: 200, autocomplete: "off", placeholder: "all projects"});
  const problem = h("p", {class: "problem", role: "alert"});
  const form = h(
    "form",
    {
      class: "card channel-form",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        void add();
      },
    },
    h("h3", null, "Add a channel"),
    h("label", {for: "kind"}, "Kind", kind),
    h("label", {for: "name"}, "Name", name),
    h("label", {for: "url"}, "URL", url),
    secretLabel,
    h("label", {for: "project"}, "Only this project", project),
    problem,
    h("button", {type: "submit", class: "primary"}, "Add channel"),
    said,
  );

  function showKind() {
    const {url: looks, urlLeftOut = false, secret: what, needed = false} = KINDS[kind.value];
    url.placeholder = looks;
    url.required = !urlLeftOut;
    secretLabel.hidden = what === undefined;
    secret.required = needed;
    say(secretAbout, what ?? "");
    secret.value = "";
  }

  async function add() {
    say(problem, "");
    fill(said);
    try {
      const made = await post("/channels", {kind: kind.value, name: name.value, url: url.value || null, secret: secret.value || null, project: project.value || null});
      form.reset();
      showKind();

      if (made.secret) {
        fill(said, h("p", null, "The receiver checks signatures with this secret. It is shown only now:"), h("pre", {class: "code", tabindex: 0}, h("code", null, made.secret)));
      }
      await load();
    } catch (error) {
      say(problem, error instanceof ApiError ? error.message : String(error));
    }
  }

  const element = h("section", {"aria-labelledby": "channels-title", class: "part"}, h("h2", {id: "channels-title"}, "Channels"), h("p", {class: "muted"}, "Each alert is sent once when it fires and once when it resolves, to every enabled channel."), none, list, log, form);
  showKind();
  return {element, load};
}
