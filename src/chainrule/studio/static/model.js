// @ts-check
// The model of a view, as anywidget has it: state that outlives the view, and messages to the Python side.
//
// In the studio the state is the address: `#draw?strokes=…` holds what differs from the view's defaults.

/** @typedef {string | number | boolean} Value */

/**
 * Read a view's state from the part of an address behind the question mark. A default's type is its value's type; what
 * does not fit is left at the default.
 * @param {Record<string, Value>} defaults @param {string} query @returns {Record<string, Value>}
 */
export function readState(defaults, query) {
  const state = { ...defaults };
  for (const [key, text] of new URLSearchParams(query)) {
    if (!Object.hasOwn(defaults, key)) continue;
    const usual = defaults[key];
    if (typeof usual === "number") {
      if (text.trim() && Number.isFinite(Number(text))) state[key] = Number(text);
    } else if (typeof usual === "boolean") {
      if (text === "true" || text === "false") state[key] = text === "true";
    } else state[key] = text;
  }
  return state;
}

/**
 * Write what differs from the defaults; "" if nothing does.
 * @param {Record<string, Value>} defaults @param {Record<string, Value>} state @returns {string}
 */
export function writeState(defaults, state) {
  const query = new URLSearchParams();
  for (const key of Object.keys(defaults)) {
    if (state[key] !== defaults[key]) query.set(key, String(state[key]));
  }
  return query.toString();
}

/** The model of one view. */
export class Model {
  /**
   * @param {Record<string, Value>} defaults
   * @param {string} query the state, from the address
   * @param {{ send: (content: object, buffers: ArrayBuffer[]) => void, save: (query: string) => void }} page
   */
  constructor(defaults, query, page) {
    this.defaults = defaults;
    this.state = readState(defaults, query);
    this.page = page;
    /** @type {Map<string, Set<Function>>} */
    this.listeners = new Map();
  }

  /** @param {string} key @returns {any} */
  get(key) {
    return this.state[key];
  }

  /** @param {string} key @param {Value} value */
  set(key, value) {
    if (this.state[key] === value) return;
    this.state[key] = value;
    this.fire(`change:${key}`);
  }

  /** Write the state into the address. */
  save_changes() {
    this.page.save(writeState(this.defaults, this.state));
  }

  /**
   * Ask the Python side. What it answers comes as the event "msg:custom", with the content and a DataView of each buffer.
   * @param {object} content @param {unknown} [_callbacks] @param {ArrayBuffer[]} [buffers]
   */
  send(content, _callbacks, buffers = []) {
    this.page.send(content, buffers);
  }

  /**
   * @param {string} event "change:KEY", "msg:custom", or, in the studio alone, "connected": the server is there again
   * @param {Function} listener
   */
  on(event, listener) {
    const all = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, all.add(listener));
  }

  /** @param {string} [event] @param {Function} [listener] */
  off(event, listener) {
    if (event === undefined) this.listeners.clear();
    else if (listener) this.listeners.get(event)?.delete(listener);
    else this.listeners.delete(event);
  }

  /** @param {string} event @param {...any} values */
  fire(event, ...values) {
    for (const listener of this.listeners.get(event) ?? []) listener(...values);
  }
}
