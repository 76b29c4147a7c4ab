// Requests as a command and as programs, to copy.
import { byId, copyButton, fill, h } from "./dom.js";
import { key, stringifyExact as json, urlOf } from "./api.js";

const LONGEST = 2000; // characters of JSON in a snippet; a longer one would hide the request

/**
 * JSON as a literal of Python.
 * @param {any} value
 */
export function python(value) {
  const text = json(value);
  return text.replaceAll(/"(?:[^"\\]|\\.)*"|\btrue\b|\bfalse\b|\bnull\b/g, (word) =>
    ({ true: "True", false: "False", null: "None" })[word] ?? word);
}

/**
 * @typedef {{
 *   method: string, path: string, body?: any, upload?: string, download?: string, python: string[], imports?: string,
 * }} Example
 * A request; `python`: the lines within `with Client(…) as client:`; `upload`, `download`: the name of a file.
 */

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {Example} example */
function curl({ method, path, body, upload, download }) {
  const url = urlOf(path).href;
  const parts = [`curl -s ${/[?&']/.test(url) ? quoted(url) : url}`];
  if (method !== "GET" && !(method === "POST" && body)) parts.push(`-X ${method}`);
  if (key()) parts.push('-H "Authorization: Bearer $CELLGATE_API_KEY"');
  if (upload) parts.push("-H 'content-type: application/octet-stream'", `--data-binary @${upload}`);
  if (download) parts.push(`-o ${download}`);
  if (body) parts.push(`-H 'content-type: application/json' \\\n  -d ${quoted(json(body))}`);
  return parts.join(" ");
}

/** @param {Example} example */
function client({ python: lines, imports = "Client" }) {
  const base = urlOf(".").href.replace(/\/$/, "");
  return [`from cellgate import ${imports}`, "", `with Client(${json(base)}) as client:`, ...lines].join("\n");
}

/**
 * A request to /predict.
 * @param {any} body
 */
export function showPredict(body) {
  const [one] = body.sequences;
  const select = `model=${json(body.model)}, version=${json(body.version)}`;
  const lines = one.session === undefined
    ? [`    print(client.predict_one(steps, ${select}, returns=${json(body.return)}))`]
    : [`    with client.session(${json(one.session)}, ${select}) as session:`, "        print(session.step(steps))"];
  showExample(byId("snippets"), { method: "POST", path: "predict", body, python: [`    steps = ${python(one.steps)}`, ...lines] });
}

/**
 * A request to /generate.
 * @param {any} body
 */
export function showGenerate(body) {
  const { model, version, prompt, max_steps, temperature, session } = body;
  const sampling = `max_steps=${max_steps}, temperature=${temperature}`;
  const select = `model=${json(model)}, version=${json(version)}`;
  const lines = session === undefined
    ? [`    print(client.generate(prompt, ${select}, ${sampling}))`]
    : [`    with client.session(${json(session)}, ${select}) as session:`, `        print(session.generate(prompt, ${sampling}))`];
  showExample(byId("snippets"), { method: "POST", path: "generate", body, python: [`    prompt = ${python(prompt)}`, ...lines] });
}

/**
 * A stream: the opening and the first frame, each a message.
 * @param {any} opening
 * @param {any} steps
 * @param {any} first
 */
export function showStream(opening, steps, first) {
  const { model, version, session } = opening;
  const lines = [`    steps = ${python(steps)}`,
    `    with client.stream(${json(session)}, model=${json(model)}, version=${json(version)}) as stream:`,
    "        for step in steps:", "            print(stream.step([step]))"];
  const body = { model, version, sequences: [{ ...first, session }] };
  const texts = { "curl, a step": curl({ method: "POST", path: "predict", body, python: [] }), Python: client({ method: "", path: "", python: lines }) };
  showTexts(byId("snippets"), { ...texts, JSON: `${json(opening)}\n${json(first)}` });
}

/**
 * Show a request in every form.
 * @param {HTMLElement} place
 * @param {Example} example
 */
export function showExample(place, example) {
  /** @type {Record<string, string>} */
  const texts = { curl: curl(example), Python: client(example) };
  if (example.body !== undefined) texts.JSON = json(example.body);
  showTexts(place, texts);
}

/**
 * @param {HTMLElement} place
 * @param {Record<string, string>} texts
 */
function showTexts(place, texts) {
  const parts = Object.entries(texts).map(([name, text]) => {
    const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)} … (${text.length} characters; Copy has all of them)` : text;
    return h("details", {}, h("summary", {}, name), copyButton(() => text), h("pre", { tabIndex: 0 }, shown));
  });
  fill(place, ...parts);
}
