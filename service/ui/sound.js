// The editor of sound: it records, reads a file, shows the wave, and streams what the microphone hears.
import { action, byId, h } from "./dom.js";
import { decode, framesOf, Microphone, whyNot } from "./audio.js";
import { drawLines } from "./draw.js";

const POINTS = 800; // of the wave that are drawn
const MAX_S = 600; // of a recording
const MAX_STEPS = 500; // of one message, while the microphone is ahead of the model

/**
 * @typedef {{
 *   form: import("./audio.js").Form, set: (steps: any[]) => void,
 *   stream: ((first: any[], take: () => Promise<any[] | null>) => Promise<void>) | null,
 * }} Sound
 * `set`: is called with the steps that were recorded; `stream`: sends steps as they come; null: it cannot
 */

/** @param {Sound} sound */
export function soundEditor({ form, set, stream }) {
  const reason = whyNot();
  const hint = h("p", { id: "sound-hint", className: "hint", role: "status" }, reason || formText(form));
  const wave = h("canvas", { id: "wave", role: "img", ariaLabel: "The sound, over time" });
  const keep = (/** @type {ArrayLike<number>} */ samples) => {
    const made = framesOf(samples, form);
    if (!made.length) throw new Error(`${samples.length} samples are less than a step, which has ${form.width}`);
    set(made);
    const rest = samples.length - made.length * form.width;
    byId("sound-hint").textContent = `${(samples.length / form.rate).toFixed(2)} s: ${made.length} steps${rest ? `; the last ${rest} samples are no whole step` : ""}`;
  };
  const seconds = h("input", { id: "seconds", type: "number", min: 0.1, max: MAX_S, step: 0.1, value: 1 });
  const record = action(async () => keep(await recorded(form, Math.min(MAX_S, Number(seconds.value)), hint)));
  const listen = action(async () => {
    if (stream) await streamed(form, stream);
  });
  const read = action(async () => {
    const [file] = picker.files;
    if (!file) return;
    try {
      keep(await decode(file, form.rate));
    } catch (error) {
      picker.value = ""; // the steps are still those of before: no other name stands beside them
      throw error;
    }
  });
  const picker = h("input", { id: "sound-file", type: "file", accept: "audio/*", onchange: read });
  const isOff = Boolean(reason);
  return h("div", {}, h("div", { className: "bar" },
      h("button", { id: "record-sound", type: "button", disabled: isOff, onclick: record }, "Record"), h("label", {}, seconds, " s"),
      h("button", { id: "listen", type: "button", disabled: isOff || !stream, onclick: listen }, "Stream the microphone")),
    h("div", { className: "bar" }, h("label", {}, "or a sound file ", picker)), hint, wave);
}

/** @param {import("./audio.js").Form} form */
const formText = ({ rate, width }) => `The model takes ${rate} samples a second, ${width} a step: ${short(1000 * width / rate)} ms.`;

/** @param {number} value */
const short = (value) => String(Number(value.toPrecision(3)));

/**
 * @param {import("./audio.js").Form} form
 * @param {number} seconds
 * @param {HTMLElement} hint
 */
async function recorded(form, seconds, hint) {
  if (!(seconds > 0)) throw new Error("the seconds to record are no number above 0");
  const microphone = await Microphone.open(form.rate);
  hint.textContent = `Recording ${short(seconds)} s \u2026`;
  try {
    return await microphone.take(Math.max(form.width, Math.round(seconds * form.rate)));
  } finally {
    microphone.close();
  }
}

/**
 * Send what the microphone hears, step by step, until the user stops.
 * @param {import("./audio.js").Form} form
 * @param {NonNullable<Sound["stream"]>} stream
 */
async function streamed(form, stream) {
  const microphone = await Microphone.open(form.rate);
  const next = async () => framesOf(await microphone.take(form.width, MAX_STEPS * form.width), form);
  try {
    const first = await next();
    let isFirst = true;
    await stream(first.slice(0, 1), async () => {
      const steps = isFirst ? first : await next();
      isFirst = false;
      return steps.length ? steps : null;
    });
  } finally {
    microphone.close();
  }
}

/**
 * Draw the wave of steps; of many samples, the largest of each part.
 * @param {any[]} steps
 * @param {import("./audio.js").Form} form
 */
export function drawWave(steps, form) {
  const samples = steps.flat();
  const size = Math.max(1, Math.ceil(samples.length / POINTS));
  const values = Array.from({ length: Math.ceil(samples.length / size) }, (_, part) =>
    samples.slice(part * size, (part + 1) * size).reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0));
  drawLines(byId("wave"), [{ label: "sound", values }], { ends: ["0 s", `${short(samples.length / form.rate)} s`], height: 120, from: -1, to: 1 });
}
