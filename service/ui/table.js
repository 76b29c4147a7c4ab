// Text as steps: JSON, CSV and what spreadsheets copy, in any locale. What may mean two numbers is refused.
import { parseExact } from "./api.js";

/** @typedef {"" | "." | ","} Mark the decimal mark; "": as it is found */
/** @typedef {{text: string, where: string}} Cell */

const PLAIN = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const WITH_COMMA = /^[+-]?(\d+,\d*|,\d+)(e[+-]?\d+)?$/i;
const THOUSANDS = /^[+-]?[1-9]\d{0,2}[.,]\d{3}$/; // or a decimal mark before three digits

/**
 * A number as JSON has it; NaN if it is none, or too large.
 * @param {string} text
 */
export function numberOf(text) {
  const trimmed = text.trim();
  return PLAIN.test(trimmed) && Number.isFinite(Number(trimmed)) ? Number(trimmed) : NaN;
}

/**
 * Text as steps. Raises Error.
 * @param {string} text
 * @param {{features?: string[], width?: number, mark?: Mark}} expected `features`: the names of the columns;
 *   `width`: how many numbers a step has; 0: unknown
 */
export function parse(text, { features = [], width = features.length, mark = "" } = {}) {
  const trimmed = text.trim();
  if (trimmed === "") throw new Error("there are no steps");
  if (isJson(trimmed)) return parseJson(trimmed);
  const { rows, delimiter } = cellsOf(text, mark);
  const header = headerOf(rows);
  const places = header && features.length ? placesOf(header, features) : [...rows[0].keys()];
  const first = header ? 2 : 1;
  const body = rows.slice(first - 1);
  body.forEach((row, number) => checkRow(row, rows[0].length, header, `row ${number + first}`));
  const cells = body.map((row, number) => places.map((column) => ({ text: row[column], where: `row ${number + first}, column ${column + 1}` })));
  const decimal = mark || markOf(cells.flat(), delimiter);
  const values = cells.map((row) => row.map((cell) => valueOf(cell, decimal)));
  if (width && places.length !== width) {
    const hint = delimiter === "," && !mark ? "; if the comma is the decimal mark, choose it" : "";
    throw new Error(`row ${first} has ${places.length} values, a step of this model has ${width}${hint}`);
  }
  return values;
}

/**
 * An object, a list, or a text in quotes, which is no CSV whose first cell is in quotes.
 * @param {string} text
 */
function isJson(text) {
  if (!text.startsWith('"')) return /^[[{]/.test(text);
  try {
    return typeof JSON.parse(text) === "string";
  } catch {
    return false;
  }
}

/** @param {string} text */
function parseJson(text) {
  const value = parseExact(text);
  const check = (/** @type {any} */ each) => {
    if (typeof each === "bigint") throw new Error(`${each} is beyond 2^53: this page would round it`);
    if (each && typeof each === "object") Object.values(each).forEach(check);
  };
  check(value);
  return value;
}

/**
 * The cells of delimited text (RFC 4180). Tabs separate, or else semicolons, or else commas. Raises Error.
 * @param {string} text
 * @param {Mark} [mark] a comma that is the decimal mark separates nothing
 * @returns {{rows: string[][], delimiter: string}}
 */
export function cellsOf(text, mark = "") {
  const source = text.replace(/^\uFEFF/, "").replace(/^(?:[ \u00a0]*[\r\n])+/, "").replace(/[\r\n]+$/, "");
  const bare = source.replace(/"[^"]*"/g, "");
  const delimiter = bare.includes("\t") ? "\t" : bare.includes(";") || mark === "," ? ";" : ",";
  /** @type {string[][]} */
  const rows = [[]];
  const token = new RegExp(`[^\\S\\n\\r\\t]*"((?:[^"]|"")*)"[^\\S\\n\\r\\t]*(?=${delimiter}|\\r|\\n|$)|[^${delimiter}\\r\\n]*`, "y");
  for (let at = 0; at <= source.length; at += 1) {
    token.lastIndex = at;
    const [whole, quoted] = /** @type {RegExpExecArray} */ (token.exec(source));
    if (quoted === undefined && whole.includes('"')) throw new Error(`row ${rows.length}: a quote is not closed, or within a value`);
    rows[rows.length - 1].push(quoted === undefined ? whole.trim() : quoted.replaceAll('""', '"').trim());
    at += whole.length;
    if (source[at] === "\r" && source[at + 1] === "\n") at += 1;
    if (source[at] === "\r" || source[at] === "\n") rows.push([]);
  }
  return { rows, delimiter };
}

/**
 * The first row, if it has names: no cell of it is a number.
 * @param {string[][]} rows
 */
function headerOf([first]) {
  const isNumber = (/** @type {string} */ cell) => PLAIN.test(cell) || WITH_COMMA.test(cell);
  return first.some((cell) => /\p{L}/u.test(cell)) && !first.some(isNumber) ? first : null;
}

/**
 * @param {string[]} row
 * @param {number} length
 * @param {string[] | null} header
 * @param {string} where
 */
function checkRow(row, length, header, where) {
  if (row.length === 1 && row[0] === "") throw new Error(`${where} is empty`);
  if (row.length !== length) throw new Error(`${where} has ${row.length} values, the ${header ? "header" : "first row"} ${length}`);
}

/**
 * For each feature, the column of a header that has its name. Raises Error.
 * @param {string[]} header
 * @param {string[]} features
 */
function placesOf(header, features) {
  const lacking = features.find((name) => header.filter((each) => each === name).length !== 1);
  if (lacking !== undefined) throw new Error(`the header has no column ${JSON.stringify(lacking)}, or has it twice`);
  return features.map((name) => header.indexOf(name));
}

/**
 * The decimal mark of all cells. Raises Error where either is possible: "1.234" may have a thousands separator.
 * @param {Cell[]} cells
 * @param {string} delimiter
 * @returns {"." | ","}
 */
function markOf(cells, delimiter) {
  const points = cells.filter(({ text }) => PLAIN.test(text) && text.includes("."));
  const commas = cells.filter(({ text }) => WITH_COMMA.test(text));
  if (points.length && commas.length) {
    throw new Error(`${points[0].where} has a decimal point, ${commas[0].where} a decimal comma: choose the decimal mark`);
  }
  const marked = commas.length ? commas : points;
  const isGrouped = marked.length > 0 && marked.every(({ text }) => THOUSANDS.test(text)) && !cells.some(({ text }) => /^[+-]?\d{4,}$/.test(text));
  const isCertain = delimiter === "," && !commas.length && cells.length > new Set(cells.map(({ where }) => where.split(",")[0])).size;
  if (isGrouped && !isCertain) {
    const [{ text, where }] = marked;
    throw new Error(`${where}: ${JSON.stringify(text)} may be ${text.replace(/[.,]/, "")} or ${text.replace(",", ".")}: choose the decimal mark`);
  }
  return commas.length ? "," : ".";
}

/**
 * The number of a cell; null: it is empty. Raises Error.
 * @param {Cell} cell
 * @param {Mark} mark
 */
function valueOf({ text, where }, mark) {
  if (text === "") return null;
  const value = mark === "," ? (text.includes(".") ? NaN : numberOf(text.replace(",", "."))) : numberOf(text);
  if (Number.isNaN(value)) {
    const hint = /\d[.,' \u00a0\u202f]\d{3}\b/.test(text) ? "; write it without thousands separators" : "";
    throw new Error(`${where}: ${JSON.stringify(text)} is not a number${hint}`);
  }
  if (/^[+-]?\d+$/.test(text) && !Number.isSafeInteger(value)) throw new Error(`${where}: ${text} is beyond 2^53: this page would round it`);
  return value;
}
