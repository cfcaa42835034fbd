// @ts-check
// The one socket of the page: messages to and from the views' Python sides. It connects again when the server is back.

import { pack, unpack } from "./wire.js";

const AGAIN = 2000; // milliseconds until the next attempt

export class Socket {
  /**
   * @param {(view: string, content: any, buffers: DataView[]) => void} told
   * @param {(connected: boolean) => void} changed
   */
  constructor(told, changed) {
    this.told = told;
    this.changed = changed;
    /** @type {ArrayBuffer[]} */
    this.waiting = [];
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(`ws://${location.host}/socket`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      for (const message of this.waiting.splice(0)) this.socket?.send(message);
      this.changed(true);
    };
    this.socket.onmessage = (event) => {
      const [content, buffers] = unpack(event.data);
      this.told(content.view, content, buffers);
    };
    this.socket.onclose = () => {
      this.changed(false);
      setTimeout(() => this.connect(), AGAIN);
    };
  }

  /** @param {string} view @param {object} content @param {ArrayBuffer[]} buffers */
  send(view, content, buffers) {
    const message = pack({ view, ...content }, buffers);
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(message);
    else if (this.socket?.readyState === WebSocket.CONNECTING) this.waiting.push(message);
  }
}
