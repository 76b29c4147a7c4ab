// Runs in the audio thread: posts what the microphone hears, as one channel, block by block.

class Recorder extends /** @type {any} */ (globalThis).AudioWorkletProcessor {
  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    if (channels.length) {
      const mono = channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
}

/** @type {any} */ (globalThis).registerProcessor("recorder", Recorder);
