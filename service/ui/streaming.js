// Drives a session over a WebSocket, a frame after each reply. It knows no elements, and not what a step is.
import { openStream, Problem } from "./api.js";

const AGAIN_MS = 500; // until a socket that has broken is opened again

/**
 * @typedef {{
 *   opening: any, at: number, take: (offset: number) => Promise<any>,
 *   answered: (reply: any, part: any) => Promise<void>, broken: (at: number) => void,
 * }} Drive
 * `opening`: the first message, without `at`, the step that the session is at; `take`: the next steps, from an
 * offset on, null at their end; `answered`: is called with each reply; `broken`: with the step that is resumed.
 */

export class Streaming {
  #isStopped = false;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {{offset: number, part: any} | null} sent, and not answered: it is sent again as it was */
  #pending = null;

  /** End after the reply that is due. */
  stop() {
    this.#isStopped = true;
    this.#socket?.close();
  }

  /**
   * Send all steps; a socket that breaks is opened again, and resumes. Raises Error.
   * @param {Drive} drive
   */
  async run(drive) {
    let at = drive.at;
    let isDone = false;
    while (!this.#isStopped && !isDone) {
      ({ at, isDone } = await this.#connected(drive, at));
      if (!this.#isStopped && !isDone) drive.broken(at);
    }
  }

  /**
   * One socket, until it closes.
   * @param {Drive} drive
   * @param {number} from
   * @returns {Promise<{at: number, isDone: boolean}>}
   */
  #connected(drive, from) {
    return new Promise((resolve, reject) => {
      const socket = (this.#socket = openStream());
      let at = from;
      let isDone = false;
      const frame = async () => {
        const offset = at - drive.at;
        if (this.#pending?.offset !== offset) this.#pending = { offset, part: await drive.take(offset) };
        isDone = this.#pending.part === null;
        if (isDone) socket.close();
        else if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ steps: this.#pending.part, at }));
      };
      const receive = async (/** @type {any} */ message) => {
        if (message.error) throw new Problem(message.error.status, message.error);
        if (message.draining) return;
        if (message.width === undefined) {
          at = message.step;
          await drive.answered(message, this.#pending?.part);
        }
        if (!this.#isStopped) await frame();
      };
      socket.onopen = () => socket.send(JSON.stringify({ ...drive.opening, at }));
      socket.onmessage = ({ data }) => receive(JSON.parse(data)).catch((error) => {
        socket.close();
        reject(error);
      });
      socket.onclose = () => setTimeout(() => resolve({ at, isDone }), isDone || this.#isStopped ? 0 : AGAIN_MS);
    });
  }
}
