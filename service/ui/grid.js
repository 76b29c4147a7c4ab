// The grid of a sequence: a line for each step, a column for each feature. It knows rows; it knows no models.
import { h, showProblem } from "./dom.js";
import { numberOf, parse } from "./table.js";

const MAX_ROWS = 200; // more are edited as text
const MAX_COLUMNS = 40;

/**
 * @typedef {{
 *   rows: () => any[][], change: (rows: any[][]) => void, resize: (length: number) => void, render: () => void,
 *   name: (column: number) => string, mark: import("./table.js").Mark,
 * }} Table
 * Rows that are edited; `resize` also shows them, `change` does not.
 */

/**
 * A copy with another value at a place.
 * @param {any[]} values
 * @param {number} at
 * @param {any} value
 */
export const replaced = (values, at, value) => values.map((each, place) => (place === at ? value : each));

/**
 * A grid with a field for each number.
 * @param {Table} table
 */
export function gridEditor(table) {
  const all = table.rows();
  const width = Math.min(MAX_COLUMNS, all[0].length);
  const head = [...Array(width).keys()].map((column) => h("th", { scope: "col" }, table.name(column)));
  const rows = all.slice(0, MAX_ROWS).map((/** @type {any[]} */ row, /** @type {number} */ number) =>
    h("tr", {}, h("th", { scope: "row" }, `${number + 1}`),
      ...row.slice(0, width).map((value, column) =>
        h("td", {}, h("input", {
          value: value === null ? "" : value,
          inputMode: "decimal",
          ariaLabel: `step ${number + 1}, ${table.name(column)}`,
          onchange: (/** @type {any} */ event) => set(table, event.target, number, column),
          onpaste: (/** @type {any} */ event) => paste(table, event, number, column),
        })),
      )),
  );
  const grid = h("div", { className: "grid", tabIndex: 0, role: "region", ariaLabel: "Values of the steps" },
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "step"), ...head)), h("tbody", {}, ...rows)));
  const [rest, columns] = [all.length - MAX_ROWS, all[0].length - MAX_COLUMNS];
  const hidden = [rest > 0 ? `${rest} more steps` : "", columns > 0 ? `${columns} more columns` : ""].filter(Boolean).join(" and ");
  return h("div", {}, grid, h("div", { className: "bar" },
    h("button", { type: "button", onclick: () => table.resize(all.length + 1) }, "Add a step"),
    h("button", { type: "button", disabled: all.length < 2, onclick: () => table.resize(all.length - 1) }, "Remove the last"),
    h("span", { className: "hint" }, hidden && `${hidden} are sent, and edited as JSON or CSV`)));
}

/**
 * Cells that a spreadsheet has copied, from this place on; the last step is repeated as they need.
 * @param {Table} table
 * @param {ClipboardEvent} event
 * @param {number} row
 * @param {number} column
 */
function paste(table, event, row, column) {
  const text = event.clipboardData?.getData("text/plain") ?? "";
  if (!/[\t\n\r]/.test(text.trim())) return; // one value: the browser pastes it
  event.preventDefault();
  try {
    const width = table.rows()[0].length;
    if (!table.mark && text.trim().split(/[\r\n]+/).every((line) => /^[+-]?\d+,\d+$/.test(line.trim()))) {
      throw new Error('these are numbers with a decimal comma, or two columns: choose the decimal mark at "JSON or CSV"');
    }
    const pasted = /** @type {any[][]} */ (parse(text, { mark: table.mark }));
    if (column + pasted[0].length > width) throw new Error(`${pasted[0].length} columns from column ${column + 1} on: a step has ${width}`);
    table.resize(Math.max(table.rows().length, row + pasted.length));
    const rows = [...table.rows()];
    pasted.forEach((values, number) => {
      rows[row + number] = [...rows[row + number]];
      rows[row + number].splice(column, values.length, ...values);
    });
    table.change(rows);
    table.render();
    showProblem("");
  } catch (error) {
    showProblem(`Not pasted: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * @param {Table} table
 * @param {HTMLInputElement} input
 * @param {number} row
 * @param {number} column
 */
function set(table, input, row, column) {
  const value = input.value.trim() === "" ? null : numberOf(input.value);
  input.setCustomValidity(Number.isNaN(value) ? "expected a number" : "");
  if (!input.reportValidity()) return;
  table.change(replaced(table.rows(), row, replaced(table.rows()[row], column, value)));
}
