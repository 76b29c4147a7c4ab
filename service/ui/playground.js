// Sends sequences to a model, whole, in pieces, or as a stream, and shows what comes back.
import { drawAnswers } from "./answers.js";
import { action, byId, fill, h, short, showProblem } from "./dom.js";
import { call, events, predict, stepOf } from "./api.js";
import { keepGates, offerGates, returned, showGates } from "./gates.js";
import { observe } from "./inspector.js";
import { showSaliency } from "./saliency.js";
import { showGenerate, showPredict, showStream } from "./snippets.js";
import { Steps } from "./steps.js";
import { Streaming } from "./streaming.js";

const steps = new Steps(async (first, take) => {
  nameSession();
  await held(() => drive(first, take))(new Event("stream"));
});
/** @type {any[]} */
let models = [];
/** @type {import("./answers.js").Trace} */
let trace = empty();
/** @type {() => void} */
let stop = () => {};

function empty(first = 1) {
  return { first, outputs: [], labels: [], inputs: [] };
}

const model = () => models[byId("model").selectedIndex];
const session = () => byId("session").value.trim();

/** Load the models, and show the first. */
export async function load() {
  models = (await call("GET", "models")).models;
  fill(byId("model"), ...models.map((each) => h("option", {}, `${each.name} version ${each.version}`)));
  choose();
}

function choose() {
  const chosen = model();
  if (!chosen) return;
  trace = empty();
  const exact = chosen.exact === true ? "exact" : `not exact, largest difference ${chosen.max_difference}`;
  byId("about").textContent = `${chosen.description}. Task: ${chosen.task}; ${exact}; ${chosen.sessions ? "has" : "no"} sessions.`;
  byId("generation").hidden = chosen.task !== "language";
  steps.open(chosen);
  byId("send").disabled = byId("explain").disabled = false;
  fill(byId("saliency"));
  byId("pieces").disabled = byId("stream").disabled = !chosen.sessions;
  byId("answer").textContent = "Nothing was sent yet.";
  fill(byId("charts"));
  offerGates(chosen);
  showPredict(body(steps.value, 0));
}

/**
 * @param {any} part
 * @param {number} at
 * @returns {any}
 */
function body(part, at) {
  const inSession = session() ? { session: session(), at } : {};
  const { name, version } = model();
  return { model: name, version, return: returned(model(), byId("return").value), sequences: [{ steps: part, ...inSession }] };
}

/** @param {string} message */
const note = (message) => {
  if (message) byId("answer").textContent = message;
};

/** Several requests need a session: give it a name. */
function nameSession() {
  if (!session()) byId("session").value = `page-${Math.random().toString(36).slice(2, 8)}`;
}

/** The step that the session is at. */
async function where() {
  const { name, version } = model();
  return session() ? stepOf({ model: name, version, session: session() }) : 0;
}

async function begin() {
  const at = await where();
  if (trace.first + trace.outputs.length !== at + 1 || !session()) trace = empty(at + 1);
  return at;
}

/**
 * Send a part, and show its prediction.
 * @param {any} part
 * @param {number} at
 */
async function sendPart(part, at) {
  const request = body(part, at);
  showPredict(request);
  const reply = await predict(request, note);
  const [prediction] = reply.predictions;
  if (prediction.error) throw new Error(prediction.error.detail);
  show(prediction, part, reply);
  await record();
  return prediction;
}

/** Let the inspector see this step, if the user wants that. */
async function record() {
  if (session() && byId("record").checked) await observe(session());
}

async function send() {
  steps.check();
  await sendPart(steps.value, await begin());
}

/** Refuse to cut what would be read otherwise in pieces. */
function checkPieces() {
  steps.check();
  if (!steps.isDivisible) throw new Error("The tokens of this model are longer than a character, and would be cut: send the text whole.");
}

async function sendPieces() {
  checkPieces();
  nameSession();
  const size = Number(byId("size").value) || 1;
  let at = await begin();
  for (let start = 0; start < steps.length; start += size) {
    at = (await sendPart(steps.slice(start, start + size), at)).step;
  }
}

/**
 * The labels of a model of several labels, as text; of each step, if there are several.
 * @param {any} labels
 * @param {boolean} isAll
 * @returns {any}
 */
function setOf(labels, isAll) {
  const text = (/** @type {any[] | null} */ found) =>
    found?.map(({ label, probability }) => `${label} ${(100 * probability).toFixed(1)} %`).join(", ") || "no label";
  return labels === undefined ? undefined : isAll ? labels.map(text) : text(labels);
}

/**
 * The values of each step, of all inputs, as the manifest orders their features.
 * @param {any} part
 * @returns {any[]}
 */
function rowsOf(part) {
  if (Array.isArray(part)) return part;
  const series = model().inputs.filter((/** @type {any} */ input) => input.features.length && input.per !== "sequence");
  const [first] = series;
  return first ? part[first.name].map((/** @type {any} */ _, /** @type {number} */ at) => series.flatMap((/** @type {any} */ input) => part[input.name][at])) : [];
}

/**
 * Add a prediction to what is shown.
 * @param {any} prediction
 * @param {any} part
 * @param {any} reply
 */
function show(prediction, part, reply) {
  const isAll = byId("return").value === "all" && Array.isArray(prediction.output);
  const list = (/** @type {any} */ value) => (value === undefined ? [] : isAll ? value : [value]);
  trace.outputs.push(...list(prediction.output));
  trace.labels.push(...list(prediction.label ?? setOf(prediction.labels, isAll)));
  if (model().outputs[0].forecasts?.length) trace.inputs.push(...rowsOf(part));
  const label = trace.labels.at(-1);
  const probability = isAll ? prediction.probability?.at(-1) : prediction.probability;
  const words = [label === undefined ? "" : `${label}`, typeof probability === "number" ? `${(100 * probability).toFixed(1)} %` : ""];
  const where = prediction.step === undefined ? "" : `step ${prediction.step} of session ${prediction.session}`;
  fill(byId("answer"), h("strong", {}, words.filter(Boolean).join(", ") || "answered"), where && ` · ${where}`);
  byId("reply").textContent = JSON.stringify(reply, null, 1).slice(0, 20000);
  keepGates(session(), prediction.gates, prediction.step ?? part.length);
  showGates(byId("gates"), session());
  draw();
}

const draw = () => drawAnswers(trace, model());

/** One step a frame, at the rate of the slider. */
async function stream() {
  checkPieces();
  nameSession();
  await drive(steps.value, async (offset) => {
    if (offset) await new Promise((resolve) => setTimeout(resolve, 1000 / Number(byId("rate").value)));
    return offset < steps.length ? steps.slice(offset, offset + 1) : null;
  });
}

/**
 * Stream steps until they end, or the user stops.
 * @param {any} shown the steps in the request that is shown
 * @param {(offset: number) => Promise<any>} take
 */
async function drive(shown, take) {
  const at = await begin();
  const { name, version } = model();
  const opening = { model: name, version, session: session(), return: returned(model(), byId("return").value) };
  showStream({ ...opening, at }, shown, { steps: shown.slice(0, 1), at });
  const streaming = new Streaming();
  stop = () => streaming.stop();
  byId("stop").disabled = false;
  const answered = async (/** @type {any} */ reply, /** @type {any} */ part) => {
    show({ ...reply, session: session() }, part, reply);
    await record();
  };
  const broken = (/** @type {number} */ step) => note(`The connection ended at step ${step}; connecting again.`);
  try {
    await streaming.run({ opening, at, take, answered, broken });
  } finally {
    byId("stop").disabled = true;
  }
}

/** Which steps the answer depends on, until the user stops. */
async function explain() {
  steps.check();
  let isStopped = false;
  stop = () => (isStopped = true);
  byId("stop").disabled = false;
  try {
    await showSaliency(steps.value, model(), () => isStopped);
  } finally {
    byId("stop").disabled = true;
  }
}

/** Text from a language model, token by token. */
async function generate() {
  steps.check();
  const { name, version } = model();
  const at = await where();
  const prompt = typeof steps.value === "string" ? steps.value : steps.value.flat();
  const cancel = new AbortController();
  stop = () => cancel.abort();
  byId("stop").disabled = false;
  const text = h("pre", { id: "generated", tabIndex: 0 });
  fill(byId("charts"), text);
  byId("answer").textContent = "";
  const request = { model: name, version, prompt, max_steps: Number(byId("tokens").value),
    temperature: Number(byId("temperature").value), ...(session() ? { session: session(), at } : {}) };
  showGenerate(request);
  try {
    for await (const event of events("generate", request, cancel.signal)) {
      if (event.name === "error") throw new Error(event.value.detail);
      if (event.name === "token") text.append(event.value.text ?? event.value.ids.join(" ") + " ");
      else byId("reply").textContent = JSON.stringify(event.value, null, 1);
    }
  } catch (error) {
    if (!cancel.signal.aborted) throw error;
  } finally {
    byId("stop").disabled = true;
  }
}

/**
 * An action during which the model, the session and the form of the reply cannot be changed.
 * @param {() => Promise<void>} run
 */
function held(run) {
  return action(async () => {
    const fields = ["model", "session", "return"].map(byId);
    for (const field of fields) field.disabled = true;
    try {
      await run();
    } finally {
      for (const field of fields) field.disabled = false;
    }
  });
}

/** Connect the controls. */
export function start() {
  byId("model").addEventListener("change", choose);
  byId("send").addEventListener("click", held(send));
  byId("pieces").addEventListener("click", held(sendPieces));
  byId("stream").addEventListener("click", held(stream));
  byId("explain").addEventListener("click", held(explain));
  byId("generate").addEventListener("click", held(generate));
  byId("stop").addEventListener("click", () => stop());
  byId("rate").addEventListener("input", () => (byId("rate-value").value = byId("rate").value));
  addEventListener("resize", () => trace.outputs.length && draw());
  showProblem("");
}
