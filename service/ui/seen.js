// The recurrent states of a session that the page has seen, a column for each step.

const MAX_COLUMNS = 400; // steps that are kept of a session
const MAX_UNITS = 512; // of a tensor that are drawn

/** @typedef {number | bigint | null} Value null: NaN or an infinity; bigint: beyond 2^53 */

/**
 * All values of a tensor, in order.
 * @param {any} values
 * @returns {Value[]}
 */
export const flat = (values) => [values].flat(Infinity);

/** @param {Value} value */
const drawn = (value) => (typeof value === "bigint" ? Number(value) : typeof value === "boolean" ? Number(value) : value ?? 0);

export class Seen {
  /** @type {number[]} */
  steps = [];
  /** @type {Map<string, number[][]>} a column for each step, by tensor */
  tensors = new Map();
  /** @type {Map<string, Value[]>} the newest state, exact, by tensor */
  exact = new Map();

  /** @param {{step: number, state: Record<string, any>}} reply to GET /sessions/{id}?state=true */
  add(reply) {
    const last = this.steps.at(-1);
    if (last !== undefined && reply.step < last) {
      this.steps = []; // rewound
      this.tensors = new Map();
    }
    const isNew = reply.step !== this.steps.at(-1);
    this.exact = new Map(Object.entries(reply.state).map(([name, values]) => [name, flat(values)]));
    for (const [name, values] of this.exact) {
      const column = values.slice(0, MAX_UNITS).map(drawn);
      const columns = this.tensors.get(name) ?? [];
      if (isNew) columns.push(column);
      else columns[columns.length - 1] = column; // edited
      this.tensors.set(name, columns.slice(-MAX_COLUMNS));
    }
    if (isNew) this.steps = [...this.steps, reply.step].slice(-MAX_COLUMNS);
  }

  /**
   * The state at a step that was seen; null if it was not.
   * @param {number} step
   * @returns {Map<string, number[]> | null}
   */
  at(step) {
    const place = this.steps.indexOf(step);
    return place < 0 ? null : new Map([...this.tensors].map(([name, columns]) => [name, columns[place]]));
  }
}

/**
 * The state of a reply, as it is drawn.
 * @param {{state: Record<string, any>}} reply
 * @returns {Map<string, number[]>}
 */
export const drawnState = ({ state }) =>
  new Map(Object.entries(state).map(([name, values]) => [name, flat(values).slice(0, MAX_UNITS).map(drawn)]));
