// The server's API as functions. Every error is an Error with the problem's code; what was sent is not lost.

/** @typedef {{steps: any, session?: string, at?: number, end?: boolean}} SequenceBody */

const RETRIES_S = [0.3, 0.6, 1.2, 2.4, 4.8, 9.6];

export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, detail?: string, title?: string, pointer?: string, step?: number}} body
   */
  constructor(status, body) {
    super([body.detail || body.title || `status ${status}`, body.pointer && `(${body.pointer})`].filter(Boolean).join(" "));
    this.status = status;
    this.code = body.code || "";
    this.step = body.step;
  }
}

/**
 * JSON with every integer exact: those beyond 2^53 are BigInt. Raises Error where the browser would round them.
 * @param {string} text
 */
export function parseExact(text) {
  const revive = (/** @type {string} */ _, /** @type {any} */ value, /** @type {{source?: string}} */ context) => {
    if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
    if (context?.source === undefined) throw new Error("this browser rounds integers beyond 2^53; a newer one shows them");
    return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
  };
  return JSON.parse(text, /** @type {any} */ (revive));
}

/**
 * JSON of a value that may have BigInts.
 * @param {any} value
 * @returns {string}
 */
export const stringifyExact = (value) =>
  JSON.stringify(value, (_, each) => (typeof each === "bigint" ? /** @type {any} */ (JSON).rawJSON(each.toString()) : each));

/** @returns {string} */
export const key = () => sessionStorage.getItem("key") || "";

/** @param {string} value */
export function setKey(value) {
  if (value) sessionStorage.setItem("key", value);
  else sessionStorage.removeItem("key");
}

/**
 * The URL of a path below the page's own prefix.
 * @param {string} path
 */
export const urlOf = (path) => new URL(path, document.baseURI);

/** @param {string} session */
export const sessionPath = (session) => `sessions/${encodeURIComponent(session)}`;

/** @returns {Record<string, string>} */
const headers = () => (key() ? { authorization: `Bearer ${key()}` } : {});

/**
 * One request; the response, whatever its status.
 * @param {string} method
 * @param {string} path
 * @param {BodyInit | null} body
 * @param {Record<string, string>} more
 */
export function send(method, path, body = null, more = {}) {
  return fetch(urlOf(path), { method, body, headers: { ...headers(), ...more }, cache: "no-store" });
}

/** @param {Response} response */
export async function check(response) {
  if (response.ok) return response;
  const text = await response.text();
  let body = { title: text.slice(0, 200) };
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's own page: its text is the title
  }
  throw new Problem(response.status, body);
}

/**
 * A request whose reply is JSON. Raises Problem.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 */
export async function call(method, path, body) {
  const text = body === undefined ? null : stringifyExact(body);
  const type = text === null ? {} : { "content-type": "application/json" };
  const response = await check(await send(method, path, text, /** @type {any} */ (type)));
  return response.status === 204 ? null : response.json();
}

/**
 * A request that is safe to send again: it is, until the server answers.
 * @param {any} body
 * @param {(message: string) => void} report
 */
export async function predict(body, report) {
  const isSafe = body.sequences.every((/** @type {SequenceBody} */ one) => !one.session || one.at !== undefined);
  for (let attempt = 0; ; attempt++) {
    try {
      const reply = await call("POST", "predict", body);
      report("");
      return reply;
    } catch (error) {
      const isTransient = !(error instanceof Problem) || [502, 503, 504].includes(error.status);
      if (!isSafe || !isTransient || attempt >= RETRIES_S.length) throw error;
      report(`${/** @type {Error} */ (error).message}; sending it again, with the same step`);
      await new Promise((resolve) => setTimeout(resolve, RETRIES_S[attempt] * 1000));
    }
  }
}

/**
 * The step that a session is at; 0 if there is none. A stream's opening says it for both.
 * @param {{model: string, version: string, session: string}} opening
 * @returns {Promise<number>}
 */
export function stepOf(opening) {
  return new Promise((resolve, reject) => {
    const socket = openStream();
    socket.onopen = () => socket.send(JSON.stringify(opening));
    socket.onmessage = ({ data }) => {
      const reply = JSON.parse(data);
      socket.close();
      if (reply.error) reject(new Problem(reply.error.status, reply.error));
      else resolve(reply.step);
    };
    socket.onclose = () => reject(new Error("the server is not reachable"));
  });
}

/** A WebSocket to /stream, with the key as a subprotocol. */
export function openStream() {
  const url = urlOf("stream");
  url.protocol = url.protocol.replace("http", "ws");
  const bytes = new TextEncoder().encode(key());
  const coded = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return new WebSocket(url, ["cellgate.v1", ...(key() ? [`cellgate.key.${coded}`] : [])]);
}

/**
 * The events of a reply as text/event-stream.
 * @param {string} path
 * @param {any} body
 * @param {AbortSignal} signal
 */
export async function* events(path, body, signal) {
  const response = await check(
    await fetch(urlOf(path), {
      method: "POST",
      body: JSON.stringify(body),
      headers: { ...headers(), "content-type": "application/json", accept: "text/event-stream" },
      signal,
    }),
  );
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop() || "";
    for (const part of parts) {
      const lines = part.split("\n");
      const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() || "message";
      const text = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (text) yield { name, value: JSON.parse(text) };
    }
  }
}
