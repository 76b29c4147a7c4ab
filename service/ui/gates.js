// The gates of the steps that this page has sent, of each session: one heat strip for each gate.
import { byId, fill } from "./dom.js";
import { showStrips } from "./strips.js";

const MAX_COLUMNS = 400; // steps that are kept of a session
const MAX_UNITS = 512; // of a gate that are drawn
const MAX_SESSIONS = 20;

/** @typedef {{layer: number, direction: string, gate: string, values: any[]}} Gate as a reply has it */
/** @typedef {{gate: Gate, columns: number[][]}} Kept */

/** @type {Map<string, {steps: number[], gates: Map<string, Kept>}>} by name; "": without a session */
const bySession = new Map();

/**
 * Whether replies of a model can have gates.
 * @param {any} model
 */
export const hasGates = (model) => model.outputs.some((/** @type {any} */ output) => output.gates);

/**
 * Offer gates for a model that shows them.
 * @param {any} model
 */
export function offerGates(model) {
  byId("gates-field").hidden = !hasGates(model);
  forget("");
  showGates(byId("gates"), "");
}

/**
 * The field "return" of a request.
 * @param {any} model
 * @param {string} steps "last" or "all"
 */
export const returned = (model, steps) =>
  hasGates(model) && byId("with-gates").checked ? ["output", "gates", steps] : steps;

/** @param {string} session */
const forget = (session) => bySession.delete(session);

/**
 * Keep the gates of a reply, in the place of those of the same steps and of later ones.
 * @param {string} session
 * @param {Gate[] | undefined} gates
 * @param {number} end the step after which they were computed
 */
export function keepGates(session, gates, end) {
  if (!gates?.length) return;
  const rows = gates.map(({ values }) => (Array.isArray(values[0]) ? values : [values]));
  const first = end - rows[0].length + 1;
  const known = bySession.get(session);
  const isSame = known && gates.every((gate) => known.gates.has(idOf(gate)));
  const before = isSame ? known.steps.filter((step) => step < first) : [];
  const steps = [...before, ...rows[0].map((_, row) => first + row)].slice(-MAX_COLUMNS);
  const kept = new Map(gates.map((gate, number) => {
    const earlier = isSame ? (known.gates.get(idOf(gate))?.columns ?? []).slice(0, before.length) : [];
    const later = rows[number].map((row) => row.slice(0, MAX_UNITS).map((/** @type {number | null} */ value) => value ?? 0));
    return [idOf(gate), { gate, columns: [...earlier, ...later].slice(-MAX_COLUMNS) }];
  }));
  forget(session);
  bySession.set(session, { steps, gates: kept });
  for (const oldest of [...bySession.keys()].slice(0, -MAX_SESSIONS)) forget(oldest);
}

/** @param {Gate} gate */
const idOf = ({ layer, direction, gate }) => `gate-${layer}-${direction}-${gate}`;

/**
 * Draw what is kept of a session; nothing of one that has none.
 * @param {HTMLElement} place
 * @param {string} session
 * @param {boolean} [byActivity]
 * @param {string} [prefix] of the ids of canvases
 */
export function showGates(place, session, byActivity = false, prefix = "") {
  const known = bySession.get(session);
  if (!known) return fill(place);
  const hasLayers = new Set([...known.gates.values()].map(({ gate }) => `${gate.layer} ${gate.direction}`)).size > 1;
  const nameOf = (/** @type {Gate} */ { gate, layer, direction }) =>
    `${gate}${hasLayers ? ` of layer ${layer}` : ""}${direction === "backward" ? ", backward" : ""}`;
  showStrips(place, [...known.gates].map(([id, { gate, columns }]) =>
    ({ name: nameOf(gate), id: `${prefix}${id}`, steps: known.steps, columns, byActivity, noun: "step" })));
}
