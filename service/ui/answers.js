// The answers of a model over the steps, as charts.
import { byId, fill, h, short } from "./dom.js";
import { COLOURS, drawLines, legend } from "./draw.js";

/** @typedef {{first: number, outputs: any[], labels: any[], inputs: any[]}} Trace `first`: the step of the first output */

/**
 * @param {Trace} trace
 * @param {number} more steps after the last output
 */
const ends = ({ first, outputs }, more) => [`step ${first}`, `step ${first + outputs.length - 1 + more}`];

/**
 * Draw the answers over the steps: each class or number as a line, or forecasts where they are due.
 * @param {Trace} trace
 * @param {any} model
 */
export function drawAnswers(trace, model) {
  const outputs = trace.outputs.map((output) => (Array.isArray(output) ? output.flat(Infinity) : [output]));
  if (!outputs.length || typeof outputs[0][0] !== "number") return fill(byId("charts"));
  const output = model.outputs[0];
  const canvas = h("canvas", { role: "img", ariaLabel: "The output over the steps" });
  if (output.forecasts?.length) return drawForecasts(trace, model, outputs);
  const names = outputs[0].map((_, column) => output.labels[column] ?? `${column + 1}`);
  const peak = names.map((_, column) => Math.max(...outputs.map((row) => Math.abs(row[column]))));
  const chosen = [...names.keys()].sort((a, b) => peak[b] - peak[a]).slice(0, COLOURS);
  const lines = chosen.map((column) => ({ label: names[column], values: outputs.map((row) => row[column]) }));
  const last = outputs[outputs.length - 1];
  const list = legend(chosen.map((column) => `${names[column]} `), (item, number) => item.append(h("b", {}, short(last[chosen[number]]))));
  fill(byId("charts"), canvas, list);
  const range = ["probabilities", "labels"].includes(output.kind) ? { from: 0, to: 1 } : {};
  drawLines(canvas, lines, { ends: ends(trace, 0), ...range });
}

/**
 * Each forecast where it is due, beside the values that came.
 * @param {Trace} trace
 * @param {any} model
 * @param {number[][]} outputs
 */
function drawForecasts(trace, model, outputs) {
  const output = model.outputs[0];
  const features = model.inputs.flatMap((/** @type {any} */ input) => (input.per === "sequence" ? [] : input.features));
  const keys = [...new Set(output.forecasts.map((/** @type {any} */ one) => JSON.stringify([one.feature, one.steps])))];
  const charts = keys.map((each) => {
    const [feature, ahead] = JSON.parse(/** @type {string} */ (each));
    const mine = output.forecasts.map((/** @type {any} */ one, /** @type {number} */ column) => ({ ...one, column }))
      .filter((/** @type {any} */ one) => one.feature === feature && one.steps === ahead)
      .sort((/** @type {any} */ a, /** @type {any} */ b) => (a.quantile ?? 0.5) - (b.quantile ?? 0.5));
    const due = (/** @type {number} */ column) => [...Array(ahead).fill(null), ...outputs.map((row) => row[column])];
    const column = features.indexOf(feature);
    const actual = trace.inputs.map((row) => (Array.isArray(row) ? row[column] : null));
    const middle = mine[Math.floor(mine.length / 2)];
    const canvas = h("canvas", { role: "img", ariaLabel: `${feature}, ${ahead} steps ahead, beside the actual values` });
    return { feature, ahead, canvas, lines: [
      { label: "forecast", values: due(middle.column), dashed: true }, { label: "actual", values: actual },
    ], bands: mine.length > 1 ? [{ label: "band", low: due(mine[0].column), high: due(mine[mine.length - 1].column) }] : [] };
  });
  fill(byId("charts"), ...charts.flatMap(({ feature, ahead, canvas }) =>
    [h("h4", {}, `${feature}, ${ahead} ${ahead === 1 ? "step" : "steps"} ahead`), canvas, legend(["forecast, with its band", "actual"])]));
  for (const { ahead, canvas, lines, bands } of charts) {
    const all = [...lines.flatMap((line) => line.values), ...bands.flatMap((band) => [...band.low, ...band.high])];
    drawLines(canvas, lines, { bands, ends: ends(trace, ahead), from: Math.min(...all.filter((value) => value !== null)) });
  }
}
