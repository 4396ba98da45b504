// @ts-check
// The only module that knows URLs and speaks HTTP.

const ROOT = "/api/v1";

/** An answer that is not 2xx, or none at all (status 0). The message is the server's own sentence. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} detail */
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** @type {Map<string, Promise<Response>>} answers on their way that nobody has asked for yet */
const ahead = new Map();

/** Ask now for what a view will ask for when its modules are there: its first `get` of this path takes the answer. @param {string} path */
export function askAhead(path) {
  const answer = send("GET", path);
  answer.catch(() => ahead.delete(path)); // whoever wants it asks again
  ahead.set(path, answer);
}

/** @param {string} method @param {string} path @param {{body?: unknown, signal?: AbortSignal}} [options] */
function send(method, path, {body, signal} = {}) {
  return fetch(ROOT + path, {
    method,
    signal,
    credentials: "same-origin",
    headers: body === undefined ? {} : {"Content-Type": "application/json"},
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** The answer that was asked for ahead, once. @param {string} method @param {string} path */
function taken(method, path) {
  const answer = method === "GET" ? ahead.get(path) : undefined;
  ahead.delete(path);
  return answer;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<any>}
 */
async function call(method, path, {body, signal} = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await (taken(method, path) ?? send(method, path, {body, signal}));
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "Unreachable", "The server does not answer.");
  }
  if (response.status === 204) return null;
  const text = await response.text();
  /** @type {any} */
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // not JSON: a proxy's page, or an empty answer; the status says enough
  }
  if (response.ok && answer !== null) return answer;
  ahead.clear(); // what was asked for before somebody signs in is no answer for afterwards
  if (response.status === 401 && path !== "/session") window.dispatchEvent(new Event("foreshock:unauthorized"));
  const detail = typeof answer?.detail === "string" ? answer.detail : `The server answered ${response.status}.`;
  throw new ApiError(response.status, answer?.error ?? "HttpError", detail);
}

/** @param {string} path @param {AbortSignal} [signal] */
export const get = (path, signal) => call("GET", path, {signal});
/** @param {string} path @param {unknown} [body] */
export const post = (path, body) => call("POST", path, {body: body ?? {}});
/** @param {string} path @param {unknown} body */
export const put = (path, body) => call("PUT", path, {body});
/** @param {string} path @param {unknown} body */
export const patch = (path, body) => call("PATCH", path, {body});
/** @param {string} path */
export const remove = (path) => call("DELETE", path);

/**
 * The answer, or null where the key in use is not meant to ask.
 * @param {string} path @param {AbortSignal} [signal]
 */
export async function getIfAllowed(path, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return null;
    throw error;
  }
}

/**
 * A path with its parts escaped: path`/runs/${id}/series`.
 * @param {TemplateStringsArray} strings
 * @param {...(string | number)} values
 */
export function path(strings, ...values) {
  return strings.reduce((built, part, i) => built + part + (i < values.length ? encodeURIComponent(values[i]) : ""), "");
}

/**
 * A query string without what is empty.
 * @param {Record<string, string | number | null | undefined>} values
 */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/** Where a stream of changes is. @param {string} stream @param {string} cursor */
export const streamUrl = (stream, cursor) => `${ROOT}${stream}${query({cursor})}`;

/** The page of a run. @param {string} id */
export const runHref = (id) => path`/runs/${id}`;

/** A file of the whole run: `report` is a page to keep, `export` every reading. @param {string} id @param {"report" | "export"} kind */
export const fileHref = (id, kind) => ROOT + path`/runs/${id}/${kind}`;

/** The page of an incident. @param {string} run @param {number} number */
export const incidentHref = (run, number) => path`/incidents/${run}/${number}`;

/** The comparison of runs. @param {string[]} ids */
export const compareHref = (ids) => `/compare?runs=${ids.map(encodeURIComponent).join(",")}`;

const AT_ONCE = 500; // runs in one request

/**
 * Change what is said about runs; see PATCH /runs.
 * @param {string[]} ids
 * @param {import("./types.js").ChangeOfRuns} change
 * @returns {Promise<string[]>} those that were otherwise before
 */
export async function changeRuns(ids, change) {
  /** @type {string[]} */
  const changed = [];
  for (let first = 0; first < ids.length; first += AT_ONCE) changed.push(...(await patch("/runs", {runs: ids.slice(first, first + AT_ONCE), ...change})).changed);
  return changed;
}

/** The page of a rule. @param {string} id */
export const ruleHref = (id) => path`/rules/${id}`;
