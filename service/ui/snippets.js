// The last request as a command and as programs, to copy.
import { byId, copyButton, fill, h } from "./dom.js";
import { key, urlOf } from "./api.js";

const LONGEST = 2000; // characters of JSON in a snippet; a longer one would hide the request

/** @param {any} value */
const json = (value) => JSON.stringify(value);

/**
 * JSON as a literal of Python.
 * @param {any} value
 */
function python(value) {
  const text = json(value);
  return text.replaceAll(/"(?:[^"\\]|\\.)*"|\btrue\b|\bfalse\b|\bnull\b/g, (word) =>
    ({ true: "True", false: "False", null: "None" })[word] ?? word);
}

/** @param {any} body */
function curl(body) {
  const auth = key() ? ' -H "Authorization: Bearer $CELLGATE_API_KEY"' : "";
  return `curl -s ${urlOf("predict")} -H 'content-type: application/json'${auth} \\\n  -d '${json(body).replaceAll("'", "'\\''")}'`;
}

/** @param {any} body */
function client(body) {
  const [one] = body.sequences;
  const base = urlOf(".").href.replace(/\/$/, "");
  const select = `model=${json(body.model)}, version=${json(body.version)}`;
  const lines = ["from cellgate import Client", "", `steps = ${python(one.steps)}`, `with Client(${json(base)}) as client:`];
  if (one.session === undefined) {
    lines.push(`    print(client.predict_one(steps, ${select}, returns=${json(body.return)}))`);
  } else {
    lines.push(`    with client.session(${json(one.session)}, ${select}) as session:`, "        print(session.step(steps))");
  }
  return lines.join("\n");
}

/**
 * Show a request in every form.
 * @param {any} body
 */
export function showSnippets(body) {
  const texts = { curl: curl(body), Python: client(body), JSON: JSON.stringify(body) };
  const parts = Object.entries(texts).map(([name, text]) => {
    const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)} … (${text.length} characters; Copy has all of them)` : text;
    return h("details", {}, h("summary", {}, name), copyButton(() => text), h("pre", { tabIndex: 0 }, shown));
  });
  fill(byId("snippets"), ...parts);
}
