// @ts-check
// What views have in common: a state, which is the page's address; questions to the Python side; a page that is shown anew
// after each change.

import { nothing, render } from "./template.js";

const SAY_AFTER = 700; // milliseconds without anything newer, before a sentence is read aloud

/** A module under the contract of anywidget. @param {new (context: Context) => View} Kind */
export const module = (Kind) => ({ render: (/** @type {Context} */ context) => void new Kind(context) });

export class View {
  /** @param {Context} context */
  constructor({ model, el, signal }) {
    this.model = model;
    this.el = el;
    this.signal = signal;
    this.error = "";
    this.spoken = ""; // what is read aloud
    /** @type {Record<string, number>} */
    this.timers = {};
    signal.addEventListener("abort", () => Object.keys(this.timers).forEach((name) => this.cancel(name)));
  }

  /** @param {string} key @returns {any} */
  get(key) {
    return this.model.get(key);
  }

  /** Change the state, in the address, too. @param {Record<string, Value>} state */
  update(state) {
    if (this.signal.aborted) return; // another view has the address
    for (const [key, value] of Object.entries(state)) this.model.set(key, value);
    this.model.save_changes();
  }

  /** @param {string} ask @param {object} [content] @param {ArrayBuffer[]} [buffers] */
  send(ask, content, buffers) {
    if (!this.signal.aborted) this.model.send({ ask, ...content }, undefined, buffers);
  }

  /** @param {Answers} answers @param {() => void} begin when the server is there again */
  listen(answers, begin) {
    this.model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => {
      answers[content.tell ?? "error"]?.(content, buffers);
      this.show();
    });
    this.model.on("connected", begin);
  }

  /** Do something later, in place of what was to be done under this name. @param {string} name @param {number} wait @param {() => void} act */
  later(name, wait, act) {
    this.cancel(name);
    if (!this.signal.aborted) this.timers[name] = setTimeout(act, wait);
  }

  /** @param {string} name */
  cancel(name) {
    clearTimeout(this.timers[name]);
  }

  /** Have a sentence read aloud, unless there is a newer one soon. @param {() => string} sentence */
  say(sentence) {
    this.later("say", SAY_AFTER, () => {
      this.spoken = sentence();
      this.show();
    });
  }

  /** @param {string} selector @returns {HTMLCanvasElement | null} */
  canvas(selector) {
    return this.el.querySelector(selector);
  }

  /** @param {string} selector @returns {HTMLCanvasElement[]} */
  canvases(selector) {
    return Array.from(this.el.querySelectorAll(selector));
  }

  show() {
    render(this.template(), this.el);
    this.el.toggleAttribute("data-is-settled", this.isSettled());
    this.paint();
  }

  /** What the page consists of. @returns {unknown} */
  template() {
    return nothing;
  }

  /** Paint its canvases. */
  paint() {}

  /** Whether all that is shown is the answer to the newest question. */
  isSettled() {
    return true;
  }
}
