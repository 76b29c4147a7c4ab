// Sequences of which a part is hidden (Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional
// Networks", section 4.2). It knows sequences and manifests; it knows no requests and no elements.

const MAX_BLOCKS = 200; // of a sequence; a longer one is hidden in blocks of several steps
const MAX_COLUMNS = 24; // that are hidden one by one
const MAX_SEQUENCES = 3000;

/**
 * @typedef {{from: number, to: number, column: number | null, sequence: any}} Hidden
 * The steps from `from` up to `to`, of one column or of all (null).
 */

/**
 * All sequences with a part hidden, and how it is hidden, in words.
 * @param {any} value the steps, as `/predict` takes them
 * @param {any} model
 * @returns {{hidden: Hidden[], blocks: number, columns: number, how: string}}
 */
export function occlusions(value, model) {
  if (typeof value === "string") return hiddenWords(value, model);
  const inputs = Array.isArray(value) ? [[model.inputs[0], value]] : Object.entries(value).map(([name, rows]) => [model.inputs.find((/** @type {any} */ one) => one.name === name), rows]);
  const series = inputs.filter(([input]) => input.per !== "sequence");
  const length = Math.max(...series.map(([, rows]) => rows.length));
  const size = Math.ceil(length / MAX_BLOCKS);
  const blocks = Math.ceil(length / size);
  const [first] = series;
  const width = series.length === 1 && Array.isArray(first[1][0]) && !Array.isArray(first[1][0][0]) ? first[1][0].length : 1;
  const columns = width > 1 && width <= MAX_COLUMNS && blocks * (width + 1) <= MAX_SEQUENCES ? width : 0;
  const fills = new Map(series.map(([input, rows]) => [input.name, filler(input, rows)]));
  const hide = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number | null} */ column) => {
    const changed = (/** @type {any} */ input, /** @type {any[]} */ rows) => rows.map((row, at) => (at < from || at >= to ? row
      : column === null ? fills.get(input.name)?.(from, to) : row.map((/** @type {any} */ each, /** @type {number} */ place) => (place === column ? fills.get(input.name)?.(from, to)[place] : each))));
    if (Array.isArray(value)) return changed(model.inputs[0], value);
    return { ...value, ...Object.fromEntries(series.map(([input, rows]) => [input.name, changed(input, rows)])) };
  };
  const hidden = [null, ...Array(columns).keys()].flatMap((column) => Array.from({ length: blocks }, (_, block) => {
    const [from, to] = [block * size, Math.min(length, (block + 1) * size)];
    return { from, to, column, sequence: hide(from, to, column) };
  }));
  const how = [...new Set(series.map(([input]) => (isNumber(input) ? "the mean of its column in this sequence" : "the step before it, the first by the one after it")))];
  return { hidden, blocks, columns, how: `${size > 1 ? `${size} steps at a time are` : "each step is"} replaced by ${how.join(", or by ")}` };
}

/**
 * Whether the mean of values is a value.
 * @param {any} input
 */
const isNumber = (input) => input.kind !== "token" && /^(float|double|bfloat)/.test(input.dtype);

/**
 * What a hidden step becomes, of an input.
 * @param {any} input
 * @param {any[]} rows
 * @returns {(from: number, to: number) => any} of the steps from `from` up to `to`
 */
function filler(input, rows) {
  if (!isNumber(input)) return (from, to) => rows[from > 0 ? from - 1 : Math.min(rows.length - 1, to)];
  const mean = meanOf(rows);
  return () => mean;
}

/**
 * The mean of rows of any shape; null: all are missing.
 * @param {any[]} rows
 * @returns {any}
 */
function meanOf(rows) {
  const shaped = rows.find((row) => Array.isArray(row));
  if (shaped) return shaped.map((/** @type {any} */ _, /** @type {number} */ place) => meanOf(rows.map((row) => row?.[place] ?? null)));
  const known = rows.filter((each) => typeof each === "number");
  return known.length ? known.reduce((sum, each) => sum + each, 0) / known.length : null;
}

/**
 * Of a text: each character becomes the one before it, or, where tokens are longer, each word is left out.
 * @param {string} text
 * @param {any} model
 */
function hiddenWords(text, model) {
  const isCharacters = model.inputs[0].vocabulary.every((/** @type {string} */ token) => [...token].length === 1);
  const parts = isCharacters ? [...text] : text.match(/\s*\S+/g) ?? [];
  const size = Math.ceil(parts.length / MAX_BLOCKS) || 1;
  const hidden = Array.from({ length: Math.ceil(parts.length / size) }, (_, block) => {
    const [from, to] = [block * size, Math.min(parts.length, (block + 1) * size)];
    const instead = isCharacters ? Array(to - from).fill(parts[from > 0 ? from - 1 : Math.min(parts.length - 1, to)]) : [];
    return { from, to, column: null, sequence: [...parts.slice(0, from), ...instead, ...parts.slice(to)].join("") };
  }).filter(({ sequence }) => sequence.trim() !== "");
  return { hidden, blocks: hidden.length, columns: 0, how: isCharacters ? "each character is replaced by the one before it" : "each word is left out" };
}
