// Heat strips: the units of a tensor from top to bottom, the steps from left to right.
import { fill, h, short } from "./dom.js";
import { drawHeat } from "./draw.js";

/**
 * @typedef {{
 *   name: string, id: string, steps: number[], columns: number[][], base?: number[] | null, total?: number,
 *   byActivity?: boolean, noun?: string, exact?: (unit: number) => unknown, choose?: (unit: number) => void,
 * }} Strip
 * `noun`: what a column is of. `total`: the units of the tensor, of which the columns may have only the first; `base` is subtracted from each column; `exact` is the value of a unit in the last column; `choose` is called
 * with the unit that was clicked.
 */

/**
 * Draw strips into an element; those that are there already are drawn again, and keep the focus.
 * @param {HTMLElement} place
 * @param {Strip[]} strips
 */
export function showStrips(place, strips) {
  const ids = strips.map((strip) => strip.id);
  if ([...place.querySelectorAll("canvas")].map((canvas) => canvas.id).join() !== ids.join()) {
    fill(place, ...ids.map((id) => h("div", {}, h("h4", {}), h("canvas", { role: "img", id }), h("p", { className: "hint" }, "\u00a0"))));
  }
  strips.forEach((strip, number) => show(place.children[number], strip));
}

/**
 * @param {Element} part
 * @param {Strip} strip
 */
function show(part, strip) {
  const { name, steps, columns, base, byActivity, exact, choose, total = columns[0].length, noun = "state" } = strip;
  const [title, canvas, hint] = /** @type {any[]} */ ([...part.children]);
  const shown = base ? columns.map((column) => column.map((value, unit) => value - base[unit])) : columns;
  const order = [...columns[0].keys()];
  if (byActivity) {
    const activity = order.map((unit) => spread(shown.map((column) => column[unit])));
    order.sort((a, b) => activity[b] - activity[a]);
  }
  const states = columns.length === 1 ? `1 ${noun}` : `${columns.length} ${noun}s`;
  const units = total > order.length ? `the first ${order.length} of ${total} units` : `${total} units`;
  title.textContent = `${base ? `difference of ${name}` : name}: ${units}, ${states} since step ${steps[0]}`;
  const { cell, step, scale } = drawHeat(canvas, shown, order);
  canvas.ariaLabel = `${title.textContent}; largest value ${short(scale)}`;
  const at = (/** @type {MouseEvent} */ event) => {
    const row = Math.max(0, Math.min(order.length - 1, Math.floor(event.offsetY / cell)));
    return { unit: order[row], column: Math.max(0, Math.min(shown.length - 1, Math.floor(event.offsetX / step))) };
  };
  const scaleText = `blue \u2212${short(scale)} to orange ${short(scale)}`;
  if (!canvas.matches(":hover")) hint.textContent = scaleText;
  canvas.onmousemove = (/** @type {MouseEvent} */ event) => {
    const { unit, column } = at(event);
    const isExact = exact && !base && column === shown.length - 1;
    const value = isExact ? exact(unit) : shown[column][unit];
    hint.textContent = `step ${steps[column]}, unit ${unit}: ${typeof value === "number" ? short(value) : value === null ? "NaN or infinite" : value}`;
  };
  canvas.onmouseleave = () => (hint.textContent = scaleText);
  canvas.onclick = (/** @type {MouseEvent} */ event) => choose?.(at(event).unit);
}

/** @param {number[]} values */
function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.length > 1 ? values.reduce((sum, value) => sum + (value - mean) ** 2, 0) : Math.abs(mean);
}
