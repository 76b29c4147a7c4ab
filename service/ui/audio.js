// Sound as steps: from the microphone or a file, at the rate of a model, cut into its frames.
import { urlOf } from "./api.js";

/** @typedef {{rate: number, width: number, isFlat: boolean}} Form `width`: samples of a step; `isFlat`: a step is a number */

/**
 * The form of sound that a model takes; null: it takes none, or something else beside it.
 * @param {any} model
 * @returns {Form | null}
 */
export function formOf(model) {
  const [input, another] = model.inputs;
  if (another || input.kind !== "audio") return null;
  return { rate: input.sample_rate, width: input.dims[0] ?? 1, isFlat: !input.dims.length };
}

/** Why the microphone cannot be used; "": it can. */
export function whyNot() {
  if (!isSecureContext) return "Browsers open the microphone only for pages on this machine or over https. A file can be chosen.";
  return navigator.mediaDevices && globalThis.AudioWorkletNode ? "" : "This browser cannot record. A file can be chosen.";
}

/**
 * Samples as steps; what is left of the last frame is no step.
 * @param {ArrayLike<number>} samples
 * @param {Form} form
 * @returns {any[]}
 */
export function framesOf(samples, { width, isFlat }) {
  if (isFlat) return Array.from(samples);
  const count = Math.floor(samples.length / width);
  return Array.from({ length: count }, (_, frame) => Array.prototype.slice.call(samples, frame * width, (frame + 1) * width));
}

/** A microphone that records at the rate of a model: the browser converts from its own. */
export class Microphone {
  /** @type {number[]} those that were heard and not yet taken */
  #samples = [];
  /** @type {() => void} */
  #heard = () => {};
  #isOpen = true;

  /**
   * @param {AudioContext} context
   * @param {MediaStream} stream
   */
  constructor(context, stream) {
    this.context = context;
    this.stream = stream;
  }

  /**
   * Ask for the microphone, and listen. Raises Error.
   * @param {number} rate samples a second
   */
  static async open(rate) {
    const reason = whyNot();
    if (reason) throw new Error(reason);
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    // Before the microphone: where it fails, none is left open.
    const context = atRate(rate, () => new AudioContext({ sampleRate: rate }));
    const stream = await navigator.mediaDevices.getUserMedia({ audio: plain }).catch((error) => {
      context.close();
      throw error;
    });
    const microphone = new Microphone(context, stream);
    try {
      await microphone.#listen();
    } catch (error) {
      microphone.close();
      throw error;
    }
    return microphone;
  }

  async #listen() {
    await this.context.audioWorklet.addModule(urlOf("ui/recorder.js"));
    const recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => {
      if (!this.#isOpen) return;
      this.#samples.push(...data);
      this.#heard();
    };
    this.context.createMediaStreamSource(this.stream).connect(recorder);
    await this.context.resume();
  }

  /**
   * The next samples, once there are so many, and perhaps more of the same count; none: it was closed before.
   * @param {number} count
   * @param {number} [most]
   */
  async take(count, most = count) {
    while (this.#isOpen && this.#samples.length < count) await new Promise((resolve) => (this.#heard = () => resolve(null)));
    const whole = Math.floor(Math.min(most, this.#samples.length) / count) * count;
    return this.#samples.splice(0, whole);
  }

  /** Let the microphone go. */
  close() {
    this.#isOpen = false;
    for (const track of this.stream.getTracks()) track.stop();
    if (this.context.state !== "closed") this.context.close();
    this.#heard();
  }
}

/**
 * What converts sound to a rate. Raises Error.
 * @template T
 * @param {number} rate
 * @param {() => T} make
 * @returns {T}
 */
function atRate(rate, make) {
  try {
    return make();
  } catch {
    throw new Error(`this browser cannot convert sound to ${rate} samples a second, the rate of the model`);
  }
}

/**
 * The samples of a file that the browser can decode, as one channel at this rate. Raises Error.
 * @param {File} file
 * @param {number} rate
 */
export async function decode(file, rate) {
  const bytes = await file.arrayBuffer();
  const context = atRate(rate, () => new OfflineAudioContext(1, 1, rate));
  const decoded = await context.decodeAudioData(bytes).catch(() => {
    throw new Error(`${file.name} is no sound file that this browser can read`);
  });
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, number) => decoded.getChannelData(number));
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}
