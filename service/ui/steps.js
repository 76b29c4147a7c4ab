// The editor of a sequence: a grid, a drawing, a text, or JSON and CSV. All edit one value.
import { byId, fill, h, showProblem } from "./dom.js";
import { formOf } from "./audio.js";
import { drawLines } from "./draw.js";
import { drawWave, soundEditor } from "./sound.js";
import { numberOf, parse } from "./table.js";
import { asText } from "./texts.js";

const MAX_ROWS = 200; // of the grid; more are edited as text
const MAX_COLUMNS = 40;
const MARKS = { "": "as found", ".": "point", ",": "comma" };

/** @param {any} steps */
const isRows = (steps) => Array.isArray(steps) && steps.length > 0 && Array.isArray(steps[0]) && !Array.isArray(steps[0][0]);

/**
 * A copy with another value at a place.
 * @param {any[]} values
 * @param {number} at
 * @param {any} value
 */
const replaced = (values, at, value) => values.map((each, place) => (place === at ? value : each));

export class Steps {
  /** @type {any} */
  value = [];
  /** @type {any} */
  #model = null;
  #view = "grid";
  #feature = 0;
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
    this.#feature = 0;
    this.value = asText(model) ?? model.example?.steps ?? [];
    this.#view = typeof this.value === "string" ? "text" : isRows(this.value) ? "grid" : "json";
    if (formOf(model)) this.#view = "sound";
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
    const views = typeof this.value === "string" ? ["text"] : isRows(this.value) ? ["grid", "draw", "json"] : ["json"];
    if (formOf(this.#model)) views.unshift("sound");
    if (!views.includes(this.#view)) this.#view = views[0];
    const names = /** @type {Record<string, string>} */ ({ sound: "Sound", grid: "Grid", draw: "Draw", json: "JSON or CSV", text: "Text" });
    const buttons = views.map((view) =>
      h("button", { type: "button", ariaPressed: String(view === this.#view), onclick: () => this.#show(view) }, names[view]),
    );
    const body = { sound: () => this.#sound(), grid: () => this.#grid(), draw: () => this.#drawing(), json: () => this.#json(), text: () => this.#text() };
    fill(byId("input"), h("div", { className: "bar", role: "group", ariaLabel: "Editor" }, ...buttons),
      /** @type {any} */ (body)[this.#view]());
    byId("input-title").textContent = `Steps (${this.length})`;
    if (this.#view === "draw") this.#redraw();
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

  /** @param {string} view */
  #show(view) {
    this.#view = view;
    this.render();
  }

  /** @param {number} column */
  #name(column) {
    return this.#model.inputs[0].features[column] ?? `${column + 1}`;
  }

  #grid() {
    const width = Math.min(MAX_COLUMNS, this.value[0].length);
    const head = [...Array(width).keys()].map((column) => h("th", { scope: "col" }, this.#name(column)));
    const rows = this.value.slice(0, MAX_ROWS).map((/** @type {any[]} */ row, /** @type {number} */ number) =>
      h("tr", {}, h("th", { scope: "row" }, `${number + 1}`),
        ...row.slice(0, width).map((value, column) =>
          h("td", {}, h("input", {
            value: value === null ? "" : value,
            inputMode: "decimal",
            ariaLabel: `step ${number + 1}, ${this.#name(column)}`,
            onchange: (/** @type {any} */ event) => this.#set(event.target, number, column),
            onpaste: (/** @type {any} */ event) => this.#paste(event, number, column),
          })),
        )),
    );
    const table = h("div", { className: "grid", tabIndex: 0, role: "region", ariaLabel: "Values of the steps" },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "step"), ...head)), h("tbody", {}, ...rows)));
    const change = (/** @type {any[]} */ value) => {
      this.value = value;
      this.render();
    };
    const [rest, columns] = [this.value.length - MAX_ROWS, this.value[0].length - MAX_COLUMNS];
    const hidden = [rest > 0 ? `${rest} more steps` : "", columns > 0 ? `${columns} more columns` : ""].filter(Boolean).join(" and ");
    return h("div", {}, table, h("div", { className: "bar" },
      h("button", { type: "button", onclick: () => change([...this.value, this.value[this.value.length - 1]]) }, "Add a step"),
      h("button", { type: "button", disabled: this.value.length < 2, onclick: () => change(this.value.slice(0, -1)) }, "Remove the last"),
      h("span", { className: "hint" }, hidden && `${hidden} are sent, and edited as JSON or CSV`)));
  }

  /**
   * Cells that a spreadsheet has copied, from this place on; steps are added as they need.
   * @param {ClipboardEvent} event
   * @param {number} row
   * @param {number} column
   */
  #paste(event, row, column) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/[\t\n\r]/.test(text.trim())) return; // one value: the browser pastes it
    event.preventDefault();
    try {
      const width = this.value[0].length;
      const pasted = /** @type {any[][]} */ (parse(text, { mark: this.#mark }));
      if (column + pasted[0].length > width) throw new Error(`${pasted[0].length} columns from column ${column + 1} on: a step has ${width}`);
      const rows = [...this.value];
      while (rows.length < row + pasted.length) rows.push(Array(width).fill(null));
      pasted.forEach((values, number) => {
        rows[row + number] = [...rows[row + number]];
        rows[row + number].splice(column, values.length, ...values);
      });
      this.value = rows;
      this.render();
      showProblem("");
    } catch (error) {
      showProblem(`Not pasted: ${/** @type {Error} */ (error).message}`);
    }
  }

  /**
   * @param {HTMLInputElement} input
   * @param {number} row
   * @param {number} column
   */
  #set(input, row, column) {
    const value = input.value.trim() === "" ? null : numberOf(input.value);
    input.setCustomValidity(Number.isNaN(value) ? "expected a number" : "");
    if (!input.reportValidity()) return;
    this.value = this.value.map((/** @type {any[]} */ each, /** @type {number} */ number) =>
      number === row ? replaced(each, column, value) : each);
  }

  #drawing() {
    const select = h("select", { id: "feature", onchange: () => this.#choose(select.selectedIndex) },
      ...this.value[0].slice(0, 200).map((/** @type {any} */ _, /** @type {number} */ column) => h("option", {}, this.#name(column))));
    select.selectedIndex = this.#feature;
    const canvas = h("canvas", { id: "drawing", role: "img", ariaLabel: "The series; draw over it with the mouse" });
    const draw = (/** @type {PointerEvent} */ event) => this.#draw(canvas, event);
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      canvas.setPointerCapture(event.pointerId);
      draw(event);
    });
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => event.buttons && draw(event));
    return h("div", {}, h("label", {}, "Feature ", select), h("p", { className: "hint" }, "Draw with the mouse or a finger."), canvas);
  }

  /** @param {number} feature */
  #choose(feature) {
    this.#feature = feature;
    this.#redraw();
  }

  #series() {
    return this.value.map((/** @type {any[]} */ row) => row[this.#feature]);
  }

  /** @param {[number, number]} [range] that stays while the user draws */
  #redraw(range) {
    const ends = ["step 1", `step ${this.value.length}`];
    const options = range ? { ends, from: range[0], to: range[1] } : { ends };
    this.frame = drawLines(byId("drawing"), [{ label: "", values: this.#series() }], options);
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {PointerEvent} event
   */
  #draw(canvas, event) {
    const { low, high, count, box } = /** @type {any} */ (this.frame);
    const place = canvas.getBoundingClientRect();
    const share = (event.clientX - place.left - box.left) / (box.right - box.left);
    const at = Math.round(Math.min(1, Math.max(0, share)) * (count - 1));
    const up = (box.bottom - (event.clientY - place.top)) / (box.bottom - box.top);
    const value = Number((low + Math.min(1, Math.max(0, up)) * (high - low)).toPrecision(6));
    if (at >= this.value.length) return;
    this.value = replaced(this.value, at, replaced(this.value[at], this.#feature, value));
    this.#redraw([low, high]);
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
