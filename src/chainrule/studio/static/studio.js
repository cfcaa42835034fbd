// The page: one socket to the server, and one view in the middle.
//
// A view is a module under the contract of anywidget, `export default { render({ model, el }) }`, and knows nothing of
// the socket: `model.send(content, buffers)` asks, and `model.on(listener)` is told.

import { pack, unpack } from "./wire.js";
import draw from "./views/draw.js";

const VIEWS = { draw };
const connection = document.getElementById("connection");

/** A model over the socket for the view of a name. */
class Model {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.listeners = [];
    this.waiting = [];
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(`ws://${location.host}/socket`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      connection.textContent = "";
      for (const message of this.waiting.splice(0)) this.socket.send(message);
      this.tell({ tell: "connected" }, []);
    };
    this.socket.onmessage = (event) => {
      const [content, buffers] = unpack(event.data);
      this.tell(content, buffers);
    };
    this.socket.onclose = () => {
      connection.textContent = "The studio has ended, or cannot be reached. Start it again with: chainrule studio";
      setTimeout(() => this.connect(), 2000);
    };
  }

  /** @param {object} content @param {ArrayBuffer[]} buffers */
  send(content, buffers = []) {
    const message = pack({ view: this.name, ...content }, buffers);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(message);
    else if (this.socket.readyState === WebSocket.CONNECTING) this.waiting.push(message);
  }

  on(listener) {
    this.listeners.push(listener);
  }

  tell(content, buffers) {
    for (const listener of this.listeners) listener(content, buffers);
  }
}

const name = "draw"; // the only view so far
VIEWS[name].render({ model: new Model(name), el: document.getElementById("view") });
