// Which steps the answer depends on: the answers to sequences of which a part is hidden, as heat strips.
import { byId, fill, h, short } from "./dom.js";
import { call, Problem } from "./api.js";
import { drawHeat } from "./draw.js";
import { occlusions } from "./occlusion.js";
import { python, showExample } from "./snippets.js";

const MAX_AT_ONCE = 64; // sequences of a request
const MAX_NUMBERS = 100_000; // of a request, about
const MOST = 5; // steps that are named
const TOO_MUCH = ["too_many_sequences", "body_too_large", "too_many_values", "reply_too_large", "session_capacity", "overloaded"];

/** @typedef {{label: string | null, of: (output: any) => number}} Effect how much an answer differs from the whole's */

/**
 * Hide parts of a sequence, one after the other, and show what that changes. Raises Error.
 * @param {any} value the steps
 * @param {any} model
 * @param {() => boolean} isStopped
 */
export async function showSaliency(value, model, isStopped) {
  const { hidden, blocks, columns, how } = occlusions(value, model);
  const place = byId("saliency");
  const { name, version } = model;
  const body = (/** @type {any[]} */ sequences) => ({ model: name, version, return: "last", sequences: sequences.map((steps) => ({ steps })) });
  const [{ output }] = (await call("POST", "predict", body([value]))).predictions;
  const effect = effectOn(output, model);
  /** @type {number[]} */
  const effects = [];
  let atOnce = Math.max(1, Math.min(MAX_AT_ONCE, Math.floor(MAX_NUMBERS / Math.max(1, JSON.stringify(value).length / 8))));
  while (effects.length < hidden.length && !isStopped()) {
    fill(place, h("p", { className: "hint", role: "status" }, `${effects.length} of ${hidden.length} sequences`));
    const part = hidden.slice(effects.length, effects.length + atOnce).map(({ sequence }) => sequence);
    try {
      const { predictions } = await call("POST", "predict", body(part));
      for (const prediction of predictions) effects.push(effect.of(answerOf(prediction)));
    } catch (error) {
      if (!(error instanceof Problem) || !TOO_MUCH.includes(error.code) || part.length === 1) throw error;
      atOnce = Math.ceil(part.length / 2);
    }
  }
  if (effects.length < hidden.length) return fill(place);
  const sequences = [value, ...hidden.slice(0, 2).map(({ sequence }) => sequence)];
  showExample(byId("snippets"), { method: "POST", path: "predict", body: body(sequences), python: [
    `    sequences = ${python(sequences)}`,
    `    print(client.predict(sequences, model=${JSON.stringify(name)}, version=${JSON.stringify(version)}, returns="last"))`] });
  draw(place, { hidden, blocks, columns, how, effects, label: effect.label, model });
}

/** @param {any} prediction */
function answerOf(prediction) {
  if (prediction.error) throw new Error(prediction.error.detail);
  return prediction.output;
}

/**
 * Of classes, how much less probable the label is; of one number, the difference; of several, the distance.
 * @param {any} whole the answer to the whole sequence
 * @param {any} model
 * @returns {Effect}
 */
function effectOn(whole, model) {
  const spec = model.outputs[0];
  const numbers = (/** @type {any} */ output) => [output].flat(Infinity).map(Number);
  const before = numbers(whole);
  if (spec.kind === "probabilities" && before.length > 1) {
    const best = before.indexOf(Math.max(...before));
    return { label: `probability of ${spec.labels[best] ?? best}`, of: (output) => before[best] - numbers(output)[best] };
  }
  if (before.length === 1) return { label: "output", of: (output) => before[0] - numbers(output)[0] };
  return { label: null, of: (output) => Math.hypot(...numbers(output).map((each, at) => each - before[at])) };
}

/**
 * @param {HTMLElement} place
 * @param {any} result
 */
function draw(place, { hidden, blocks, columns, how, effects, label, model }) {
  const names = [columns ? "all columns" : "steps", ...Array.from({ length: columns }, (_, column) => model.inputs[0].features[column] ?? `column ${column + 1}`)];
  const grid = Array.from({ length: blocks }, (_, block) => names.map((_, row) => effects[row * blocks + block]));
  const stepOf = (/** @type {import("./occlusion.js").Hidden} */ { from, to }) => (to - from > 1 ? `steps ${from + 1} to ${to}` : `step ${from + 1}`);
  const ranked = [...Array(blocks).keys()].sort((a, b) => Math.abs(effects[b]) - Math.abs(effects[a])).slice(0, MOST);
  const canvas = h("canvas", { role: "img", id: "saliency-strip", ariaLabel: "The effect of each step on the answer" });
  const scaleText = label ? `Orange: without it, the ${label} is less; blue: more.` : "The darker, the further away is the output without it.";
  const hint = h("p", { className: "hint" }, scaleText);
  fill(place, h("h4", {}, "Saliency by occlusion"), h("p", { className: "hint" }, `From the initial state, ${how}.`), canvas, hint,
    h("ol", { id: "salient" }, ...ranked.map((block) => h("li", {}, `${stepOf(hidden[block])}: ${short(effects[block])}`))));
  const { cell, step } = drawHeat(canvas, grid, [...names.keys()]);
  canvas.onmousemove = (/** @type {MouseEvent} */ event) => {
    const row = Math.max(0, Math.min(names.length - 1, Math.floor(event.offsetY / cell)));
    const block = Math.max(0, Math.min(blocks - 1, Math.floor(event.offsetX / step)));
    hint.textContent = `${stepOf(hidden[block])}, ${names[row]}: ${short(grid[block][row])}`;
  };
  canvas.onmouseleave = () => (hint.textContent = scaleText);
}
