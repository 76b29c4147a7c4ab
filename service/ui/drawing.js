// One feature of a sequence as a line that is drawn with the mouse. It knows rows; it knows no models.
import { byId, h } from "./dom.js";
import { drawLines } from "./draw.js";
import { replaced } from "./grid.js";

const MAX_FEATURES = 200;

/** @typedef {import("./grid.js").Table} Table */

export class Drawing {
  #feature = 0;
  /** @type {any} */
  #frame = null;

  /** @param {Table} table */
  constructor(table) {
    this.table = table;
  }

  element() {
    const select = h("select", { id: "feature", onchange: () => {
      this.#feature = select.selectedIndex;
      this.draw();
    } }, ...this.table.rows()[0].slice(0, MAX_FEATURES).map((_, column) => h("option", {}, this.table.name(column))));
    const canvas = h("canvas", { id: "drawing", role: "img", ariaLabel: "The series; draw over it with the mouse" });
    const move = (/** @type {PointerEvent} */ event) => this.#move(canvas, event);
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => event.buttons && move(event));
    return h("div", {}, h("label", {}, "Feature ", select), h("p", { className: "hint" }, "Draw with the mouse or a finger."), canvas);
  }

  /** @param {[number, number]} [range] that stays while the user draws */
  draw(range) {
    const values = this.table.rows().map((row) => row[this.#feature]);
    const ends = ["step 1", `step ${values.length}`];
    this.#frame = drawLines(byId("drawing"), [{ label: "", values }], range ? { ends, from: range[0], to: range[1] } : { ends });
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {PointerEvent} event
   */
  #move(canvas, event) {
    const { low, high, count, box } = this.#frame;
    const rows = this.table.rows();
    const place = canvas.getBoundingClientRect();
    const share = (event.clientX - place.left - box.left) / (box.right - box.left);
    const at = Math.round(Math.min(1, Math.max(0, share)) * (count - 1));
    const up = (box.bottom - (event.clientY - place.top)) / (box.bottom - box.top);
    const value = Number((low + Math.min(1, Math.max(0, up)) * (high - low)).toPrecision(6));
    if (at >= rows.length) return;
    this.table.change(replaced(rows, at, replaced(rows[at], this.#feature, value)));
    this.draw([low, high]);
  }
}
