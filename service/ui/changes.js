// What can be done with a session, and the same by curl and Python. It knows requests; it knows no elements.
import { call, check, parseExact, send, sessionPath } from "./api.js";
import { flat } from "./seen.js";

/** @typedef {import("./snippets.js").Example} Example */
/** @typedef {{session: string, step: number, rewinds: number}} Live a session as it was read */

const FILE = /\.(cgs|cellgate)$/;
const OCTETS = { "content-type": "application/octet-stream" };

/** @param {string} text */
const quoted = (text) => JSON.stringify(text);

/**
 * The session that the file of an export is of.
 * @param {string} file
 */
export const nameOf = (file) => file.replace(FILE, "");

/**
 * A session with its state, every number exact. Raises Problem.
 * @param {string} session
 */
export async function read(session) {
  const response = await check(await send("GET", `${sessionPath(session)}?state=true`));
  return parseExact(await response.text());
}

/**
 * The same request elsewhere: of a session, with a method of the Python client.
 * @param {string} session
 * @param {string} method
 * @param {string} action
 * @param {any} body
 * @param {string} python
 * @returns {Example}
 */
const example = (session, method, action, body, python) => ({
  method, path: `${sessionPath(session)}${action}`, body,
  python: [`    session = client.session(${quoted(session)})`, ...python.split("\n").map((line) => `    ${line}`)],
});

/**
 * @param {string} session
 * @param {string} to
 */
export function fork(session, to) {
  return run(example(session, "POST", "/fork", { to }, `print(session.fork(${quoted(to)}))`));
}

/**
 * @param {string} session
 * @param {number} last
 */
export function keep(session, last) {
  const python = `print(session.set_history(History(last=${last})))`;
  const made = example(session, "PATCH", "", { history: { last } }, python);
  return run({ ...made, imports: "Client, History" });
}

/**
 * @param {Live} live
 * @param {number} step
 */
export function rewind({ session, step: at, rewinds }, step) {
  return run(example(session, "POST", "/rewind", { step, at, rewinds }, `print(session.rewind(${step}))`));
}

/** @param {string} session */
export function remove(session) {
  return run(example(session, "DELETE", "", undefined, "session.delete()"));
}

/**
 * Write the whole state again with another value, if the session is still where it is read.
 * @param {string} session
 * @param {string} tensor
 * @param {number} unit
 * @param {string} text
 */
export async function setValue(session, tensor, unit, text) {
  const { model, version, step, rewinds, state } = await read(session);
  for (const [name, values] of Object.entries(state)) {
    if (flat(values).includes(null)) throw new Error(`${name} has a NaN or an infinity, which JSON does not have: export the session instead`);
  }
  const number = numberOf(text);
  let place = 0;
  /**
   * @param {any} values
   * @returns {any}
   */
  const replaced = (values) => {
    if (Array.isArray(values)) return values.map(replaced);
    return place++ === unit ? number : values;
  };
  const changed = { ...state, [tensor]: replaced(state[tensor]) };
  if (!(Number.isInteger(unit) && unit >= 0 && unit < place)) throw new Error(`${tensor} has ${place} units, from 0`);
  const python = `state = dict(session.stored(state=True).state)\nstate[${quoted(tensor)}].flat[${unit}] = ${number}\nprint(session.set_state(state))`;
  return run(example(session, "PUT", "", { model, version, step, state: changed, at: step, rewinds }, python));
}

/**
 * A number as it is written; a large integer is exact. Raises Error.
 * @param {string} text
 */
function numberOf(text) {
  const trimmed = text.trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) throw new Error(`${quoted(text)} is not a number`);
  return /^[+-]?\d+$/.test(trimmed) && !Number.isSafeInteger(Number(trimmed)) ? BigInt(trimmed) : Number(trimmed);
}

/**
 * The file of a session, its name, and the same elsewhere.
 * @param {string} session
 */
export async function exportSession(session) {
  const path = `${sessionPath(session)}/export`;
  const response = await check(await send("GET", path));
  const [, name = "session.cgs"] = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "") ?? [];
  const python = [`    client.session(${quoted(session)}).export(${quoted(name)})`];
  return { blob: await response.blob(), name, example: /** @type {Example} */ ({ method: "GET", path, download: name, python }) };
}

/**
 * A session from a file; in the place of one that is live, if that is still as it was read.
 * @param {string} session
 * @param {File} file
 * @param {Live | null} live
 */
export async function importSession(session, file, live) {
  const expected = live ? `?at=${live.step}&rewinds=${live.rewinds}` : "";
  await check(await send("PUT", `${sessionPath(session)}/import${expected}`, file, OCTETS));
}

/**
 * An import elsewhere.
 * @param {string} session
 * @returns {Example}
 */
export const importing = (session) => ({
  method: "PUT", path: `${sessionPath(session)}/import`, upload: "session.cgs",
  python: [`    print(client.import_session(${quoted(session)}, "session.cgs"))`],
});

/** @param {Example} made */
async function run(made) {
  await call(made.method, made.path, made.body);
  return made;
}
