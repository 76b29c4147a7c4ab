// The editor of a sequence: a grid, a drawing, a text, or JSON and CSV. All edit one value.
import { byId, fill, h } from "./dom.js";
import { formOf } from "./audio.js";
import { Drawing } from "./drawing.js";
import { gridEditor } from "./grid.js";
import { drawWave, soundEditor } from "./sound.js";
import { parse } from "./table.js";
import { asText } from "./texts.js";

const MARKS = { "": "as found", ".": "point", ",": "comma" };

/** @param {any} value */
const isNumber = (value) => value === null || typeof value === "number";

/** @param {any} steps */
const isRows = (steps) => Array.isArray(steps) && steps.length > 0 && steps.every((row) => Array.isArray(row) && row.length > 0 && row.every(isNumber));

/**
 * Whether the steps of an input can be edited as a table.
 * @param {any} input
 * @param {any} steps
 */
const isTable = (input, steps) =>
  input.per !== "sequence" && (isRows(steps) || (input.kind !== "token" && Array.isArray(steps) && steps.length > 0 && steps.every(isNumber)));

export class Steps {
  /** @type {any} */
  value = [];
  /** @type {any} */
  #model = null;
  #view = "grid";
  /** @type {Drawing | null} */
  #drawing = null;
  #input = 0; // of the model, which is edited as a table
  /** @type {import("./table.js").Mark} */
  #mark = "";

  /** @param {import("./sound.js").Sound["stream"]} stream sends steps as they come */
  constructor(stream) {
    this.stream = stream;
  }

  /**
   * Show a model's example.
   * @param {any} model
   */
  open(model) {
    this.#model = model;
    this.value = asText(model) ?? model.example?.steps ?? [];
    this.#input = Math.max(0, model.inputs.findIndex((/** @type {any} */ input) => isTable(input, this.#stepsOf(input))));
    this.#view = formOf(model) ? "sound" : "grid";
    this.render();
  }

  /**
   * The steps of one input.
   * @param {any} input
   */
  #stepsOf(input) {
    return Array.isArray(this.value) || typeof this.value === "string" ? this.value : this.value[input.name];
  }

  /** The input that is edited, as rows of numbers. */
  get #rows() {
    const steps = this.#stepsOf(this.#model.inputs[this.#input]);
    return isRows(steps) ? steps : steps.map((/** @type {any} */ value) => [value]);
  }

  /** @param {any[][]} rows */
  set #rows(rows) {
    const input = this.#model.inputs[this.#input];
    const steps = isRows(this.#stepsOf(input)) ? rows : rows.map(([value]) => value);
    this.value = Array.isArray(this.value) ? steps : { ...this.value, [input.name]: steps };
  }

  /**
   * Make the sequence longer by its last step, or shorter.
   * @param {number} length
   */
  #resize(length) {
    const sized = (/** @type {any[]} */ steps) => Array.from({ length }, (_, at) => steps[Math.min(at, steps.length - 1)]);
    if (Array.isArray(this.value)) this.value = sized(this.value);
    else this.value = Object.fromEntries(Object.entries(this.value).map(([name, steps]) => [name, this.#isKept(name) ? steps : sized(steps)]));
    this.render();
  }

  /** Number of steps; of a text, its characters. */
  get length() {
    if (typeof this.value === "string") return [...this.value].length;
    if (Array.isArray(this.value)) return this.value.length;
    const [series] = Object.entries(this.value).filter(([name]) => !this.#isKept(name));
    return /** @type {any} */ (series)?.[1]?.length ?? 0;
  }

  /** Raises Error if what is written in the editor is no sequence: the one before would be sent. */
  check() {
    const wrong = /** @type {HTMLInputElement | null} */ (byId("input").querySelector(":invalid"));
    if (wrong) throw new Error(wrong.validationMessage);
  }

  /** Whether the steps may be sent in pieces: words and sub-words would be cut, and read as others. */
  get isDivisible() {
    const words = this.#model.inputs[0].vocabulary;
    return typeof this.value !== "string" || words.every((/** @type {string} */ word) => [...word].length === 1);
  }

  /**
   * Whether an input is given once for a sequence.
   * @param {string} input
   */
  #isKept(input) {
    return this.#model.inputs.some((/** @type {any} */ one) => one.name === input && one.per === "sequence");
  }

  /**
   * The steps from `start` to `stop`.
   * @param {number} start
   * @param {number} stop
   */
  slice(start, stop) {
    if (typeof this.value === "string") return [...this.value].slice(start, stop).join("");
    if (Array.isArray(this.value)) return this.value.slice(start, stop);
    return Object.fromEntries(
      Object.entries(this.value).map(([name, values]) => [
        name,
        this.#isKept(name) ? values : /** @type {any} */ (values).slice(start, stop),
      ]),
    );
  }

  render() {
    const tables = this.#model.inputs.map((/** @type {any} */ input) => isTable(input, this.#stepsOf(input)));
    const views = typeof this.value === "string" ? ["text"] : tables[this.#input] ? ["grid", "draw", "json"] : ["json"];
    if (formOf(this.#model)) views.unshift("sound");
    if (!views.includes(this.#view)) this.#view = views[0];
    const names = /** @type {Record<string, string>} */ ({ sound: "Sound", grid: "Grid", draw: "Draw", json: "JSON or CSV", text: "Text" });
    const buttons = views.map((view) =>
      h("button", { type: "button", ariaPressed: String(view === this.#view), onclick: () => this.#show(view) }, names[view]),
    );
    const body = { sound: () => this.#sound(), grid: () => gridEditor(this.#table()), draw: () => this.#newDrawing(), json: () => this.#json(), text: () => this.#text() };
    fill(byId("input"), h("div", { className: "bar", role: "group", ariaLabel: "Editor" }, ...buttons), ...this.#choice(tables),
      /** @type {any} */ (body)[this.#view]());
    byId("input-title").textContent = `Steps (${this.length})`;
    if (this.#view === "draw") this.#drawing?.draw();
    const form = formOf(this.#model);
    if (form && this.#view === "sound") drawWave(this.value, form);
  }

  #sound() {
    const form = /** @type {import("./audio.js").Form} */ (formOf(this.#model));
    const set = (/** @type {any[]} */ steps) => {
      this.value = steps;
      this.render();
    };
    return soundEditor({ form, set, stream: this.#model.sessions ? this.stream : null });
  }

  /**
   * Of several inputs, which one is edited as a table.
   * @param {boolean[]} tables
   */
  #choice(tables) {
    if (tables.filter(Boolean).length < 2 || this.#view === "json") return [];
    const select = h("select", { id: "edited", onchange: () => {
      this.#input = Number(select.value);
        this.render();
    } }, ...tables.flatMap((isOne, at) => (isOne ? [h("option", { value: at, selected: at === this.#input }, this.#model.inputs[at].name)] : [])));
    return [h("label", {}, "Input ", select)];
  }

  /** @param {string} view */
  #show(view) {
    this.#view = view;
    this.render();
  }

  /** @returns {import("./grid.js").Table} */
  #table() {
    const names = this.#model.inputs[this.#input].features;
    return {
      rows: () => this.#rows, change: (rows) => (this.#rows = rows), resize: (length) => this.#resize(length), render: () => this.render(),
      name: (column) => names[column] ?? `${column + 1}`, mark: this.#mark,
    };
  }

  #newDrawing() {
    this.#drawing = new Drawing(this.#table());
    return this.#drawing.element();
  }

  #json() {
    const read = () => {
      const [input, another] = this.#model.inputs;
      try {
        this.value = parse(area.value, another ? {} : { features: input.features, width: input.dims.length === 1 ? input.dims[0] : 0, mark: this.#mark });
        area.setCustomValidity("");
        byId("input-title").textContent = `Steps (${this.length})`;
      } catch (error) {
        area.setCustomValidity(/** @type {Error} */ (error).message);
      }
      area.reportValidity();
    };
    const mark = h("select", { onchange: () => {
      this.#mark = mark.value;
      read();
    } }, ...Object.entries(MARKS).map(([value, name]) => h("option", { value, selected: value === this.#mark }, name)));
    const area = h("textarea", {
      id: "json",
      ariaLabel: "Steps as JSON or CSV",
      spellcheck: false,
      value: isRows(this.value) ? `[${this.value.map((/** @type {any} */ row) => JSON.stringify(row)).join(",\n ")}]` : JSON.stringify(this.value),
      onchange: read,
    });
    return h("div", {}, area, h("div", { className: "bar" }, h("label", {}, "Decimal mark of CSV ", mark)));
  }

  #text() {
    const area = h("textarea", { id: "text", ariaLabel: "Text", value: this.value, oninput: () => {
      this.value = area.value;
      byId("input-title").textContent = `Steps (${this.length})`;
    } });
    return area;
  }
}
