// @ts-check
// Inside: the neurons of a network, which pixels decided, and what happens without a neuron.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { bytes, floats } from "../parts/arrays.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import { savePicture } from "../parts/files.js";
import { Pad } from "../parts/pad.js";
import { decode, encode } from "../parts/strokes.js";
import { Attention } from "./inside/attention.js";
import { changed, option } from "./inside/fields.js";
import { Layers } from "./inside/layers.js";
import { neuron, paintNeuron } from "./inside/neuron.js";
import { paintPicture, pictureChoice, pictureSection } from "./inside/picture.js";
import { Question } from "./inside/question.js";

/** @type {Record<string, string>} */
const PACKAGED = { shipped: "digits (in the package)", shipped_words: "words (in the package)" };
const HOVER = 60; // milliseconds on a neuron until it is asked about
export const defaults = {
  run: "", image: 0, strokes: "", kept: "", map: "", of: "", neuron: "", silent: "", text: "", head: "0.0", token: -1,
};

export default {
  /** @param {{ model: any, el: HTMLElement, signal?: AbortSignal }} context */
  render({ model, el, signal }) {
    new Inside(model, el, signal);
  },
};

/**
 * @typedef {{ kind: string, run: string, runs: string[], sentence?: string, about: string, classes: string[], count: number,
 *   shape: number[], drawable: boolean, example: string, layers: { title: string, size: number, filters: boolean }[] }} Network
 */

export class Inside {
  /** @param {any} model @param {HTMLElement} el @param {AbortSignal} [signal] */
  constructor(model, el, signal) {
    this.model = model;
    this.el = el;
    const nothingYet = /** @type {any} */ (null);
    /** @type {Network} */
    this.network = nothingYet;
    this.look = this.map = this.accuracy = nothingYet; // the newest answers to these questions
    this.error = "";
    this.drawing = Boolean(model.get("strokes") || model.get("kept"));
    this.changing = false; // by this view itself
    /** @type {Map<string, any>} what is known of each neuron, by "LAYER.NEURON" */
    this.neurons = new Map();
    this.hovered = "";
    this.timer = 0;
    this.opening = 0; // counts the networks that were opened: what is told of an earlier one is left out
    this.pad = new Pad(decode(model.get("strokes")), { changed: (finished) => finished && this.drew() });
    this.questions = Object.fromEntries(["look", "map", "surgery"].map((name) => [name, new Question(model, name)]));
    this.layers = new Layers({
      point: (key) => this.point(key),
      choose: (key) => this.set({ neuron: key }),
      silence: (key) => this.toggle(key),
    });
    this.attention = new Attention(model, (state) => this.update(state), () => this.show());
    model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => this.told(content, buffers));
    model.on("connected", () => this.open());
    for (const key of Object.keys(defaults)) model.on(`change:${key}`, () => this.changing || this.open()); // by a notebook
    const observer = new ResizeObserver(() => this.wire());
    observer.observe(el);
    signal?.addEventListener("abort", () => observer.disconnect());
    this.show();
    this.open();
  }

  // Questions

  open() {
    for (const question of Object.values(this.questions)) question.reset();
    this.opening += 1;
    this.network = this.look = this.map = this.accuracy = /** @type {any} */ (null);
    this.neurons.clear();
    this.layers.stops.clear();
    if (this.model.get("kept")) this.model.send({ ask: "kept", key: this.model.get("kept") });
    this.model.send({ ask: "open", number: this.opening, run: this.model.get("run") });
  }

  /** Ask again for all that depends on the picture or on who is silent. */
  ask({ surgery = false } = {}) {
    if (this.network?.kind !== "images") return;
    if (this.drawing && !this.pad.strokes.length) return;
    const buffers = this.drawing ? [this.pad.png()] : [];
    const picture = { run: this.network.run, image: this.model.get("image"), silent: this.model.get("silent") };
    const [layer, neuron] = this.chosen() || [0, 0];
    this.questions.look.ask({ ...picture, layer, neuron }, buffers);
    const map = this.model.get("map");
    if (map) this.questions.map.ask({ ...picture, map, ...this.subject() }, buffers);
    if (surgery) this.operate();
  }

  operate() {
    this.accuracy = null;
    const silent = this.model.get("silent");
    if (silent) this.questions.surgery.ask({ run: this.network.run, silent });
  }

  /** Whose map it is: nothing for the answer, or a neuron. */
  subject() {
    const of = this.model.get("of");
    const key = of === "neuron" ? this.chosen() : /^\d+$/.test(of) ? [this.network.layers.length - 1, Number(of)] : null;
    return key ? { layer: key[0], neuron: key[1] } : {};
  }

  /** @param {string} key */
  examine(key) {
    if (!key || this.neurons.has(key)) return;
    const [layer, neuron] = key.split(".").map(Number);
    this.neurons.set(key, {});
    const question = { number: this.opening, run: this.network.run, layer, neuron };
    this.model.send({ ask: "neuron", ...question });
    this.model.send({ ask: "top", ...question });
  }

  // What the server says

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    const question = this.questions[content.tell];
    if (question && !question.answered(content)) return;
    if (content.error && !content.tell) for (const each of Object.values(this.questions)) each.reset(); // a fault
    if (content.tell === "open" && content.number === this.opening) this.opened(content);
    else if (content.error) this.error = content.error;
    else if (content.tell === "look") {
      this.error = "";
      this.look = { ...content, picture: bytes(buffers[0]), outputs: buffers.slice(1).map(floats) };
    } else if (content.tell === "map") this.map = { ...content, pixels: floats(buffers[0]) };
    else if (content.tell === "surgery") this.accuracy = content;
    else if (content.tell === "kept") this.update({ kept: content.key });
    else if (content.tell === "strokes") {
      this.pad.strokes.splice(0, Infinity, ...decode(content.text));
      this.ask();
    } else if (content.tell === "attention") this.attention.told(content, buffers);
    else if (content.number === this.opening && content.layer !== undefined) this.toldNeuron(content, buffers);
    this.show();
  }

  /** @param {Network} network */
  opened(network) {
    this.network = network;
    this.error = "";
    if (network.kind === "text") return this.attention.open(network);
    if (network.kind !== "images") return;
    this.drawing &&= network.drawable;
    const [key, layer, neuron] = /^(\d+)\.(\d+)$/.exec(this.model.get("neuron")) ?? ["", 0, 0];
    const image = this.model.get("image");
    this.update({
      neuron: Number(neuron) < (network.layers[Number(layer)]?.size ?? 0) ? key : "",
      image: Number.isInteger(image) && image >= 0 && image < network.count ? image : 0,
    });
    this.examine(this.model.get("neuron"));
    this.ask({ surgery: true });
  }

  /** @param {any} content @param {DataView[]} buffers */
  toldNeuron(content, buffers) {
    const key = `${content.layer}.${content.neuron}`;
    const known = this.neurons.get(key) ?? {};
    if (content.tell === "neuron") known.weights = { ...content, pictures: floats(buffers[0]) };
    else if (content.waiting) {
      known.waiting = true;
      this.model.send({ ask: "top", number: this.opening, run: this.network.run, layer: content.layer, neuron: content.neuron });
    } else known.top = { ...content, pictures: bytes(buffers[0]), mean: floats(buffers[1]) };
    this.neurons.set(key, known);
  }

  // What the person does

  /** Change the state. @param {Record<string, any>} state */
  update(state) {
    this.changing = true;
    for (const [key, value] of Object.entries(state)) this.model.set(key, value);
    this.changing = false;
    this.model.save_changes();
  }

  /** Change the state, and what depends on it. @param {Record<string, any>} state */
  set(state) {
    this.update(state);
    if ("run" in state) this.open();
    else {
      if ("neuron" in state) this.examine(state.neuron);
      if ("map" in state || "image" in state || "of" in state) this.map = null;
      this.ask({ surgery: "silent" in state });
    }
    this.show();
  }

  /** @param {string} key the neuron under the pointer or the focus; "" for none */
  point(key) {
    this.hovered = key;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.examine(key);
      this.show();
    }, HOVER);
  }

  /** @param {string} key */
  toggle(key) {
    const [layer] = key.split(".").map(Number);
    if (layer >= this.network.layers.length - 1) return;
    const silent = new Set(this.silent());
    if (!silent.delete(key)) silent.add(key);
    this.set({ silent: [...silent].join("-") });
  }

  drew() {
    const { text, isShort } = encode(this.pad.strokes);
    this.map = null;
    if (!this.pad.strokes.length) this.look = null;
    if (!isShort) this.model.send({ ask: "keep", text });
    this.set({ strokes: isShort ? text : "", kept: "" });
    this.pad.redraw(this.el);
  }

  /** @param {boolean} drawing */
  draw(drawing) {
    this.drawing = drawing;
    this.map = null;
    if (drawing && !this.pad.strokes.length) this.look = null;
    if (!drawing) this.pad.strokes.length = 0;
    this.set(drawing ? {} : { strokes: "", kept: "" });
    this.pad.redraw(this.el);
  }

  download() {
    savePicture(this.pad.png(), "drawing.png");
  }

  // What is shown

  /** The layer and number of the neuron that is held on to, or null. @returns {number[] | null} */
  chosen() {
    const key = this.model.get("neuron");
    return key ? key.split(".").map(Number) : null;
  }

  /** The neuron under the pointer or the focus, or the chosen one; "" for none. @returns {string} */
  shown() {
    return this.hovered || this.model.get("neuron");
  }

  /** @returns {string[]} */
  silent() {
    return this.model.get("silent").split("-").filter(Boolean);
  }

  show() {
    put(this.template(), this.el);
    const isBusy = !this.network || Object.values(this.questions).some((question) => question.busy);
    this.el.toggleAttribute("data-is-settled", !isBusy);
    if (this.drawing) this.pad.redraw(this.el);
    paintPicture(this);
    if (this.look) this.layers.paint(this.el, this.look, this.silent());
    paintNeuron(this);
    this.attention.paint(this.el);
    this.wire();
  }

  wire() {
    const key = this.shown();
    if (this.look) this.layers.wire(this.el, this.look, key, this.neurons.get(key)?.weights);
  }

  /** @param {number} index */
  name(index) {
    return this.network.classes[index] === "none" ? "no digit" : this.network.classes[index];
  }

  template() {
    const { network } = this;
    return html`
      <p class="lead">${network?.kind === "text"
        ? "A language model of this kind looks back at the words before: see which head looks where."
        : "Each small square is a neuron. Click one: what does it look for? Then silence it: does the network miss it?"}</p>
      <p class="buttons">
        <label>Network
          <select @change=${changed((run) => this.set({ run, neuron: "", silent: "", of: "" }))}>
            ${network && [...new Set([network.run, ...network.runs])].map((run) => option(run, PACKAGED[run] ?? run, network.run))}
          </select>
        </label>
        ${network?.kind === "images" ? pictureChoice(this) : nothing}
      </p>
      <p class="notice" role="alert" ?hidden=${!this.error && network?.kind !== "none"}>${this.error || network?.sentence}</p>
      ${network ? nothing : html`<p>Opening the network…</p>`}
      ${network?.kind === "text" ? this.attention.template() : nothing}
      ${network?.kind === "images" ? this.desk() : nothing}`;
  }

  desk() {
    const { look, network } = this;
    return html`
      <div class="desk">
        ${pictureSection(this)}
        <section aria-labelledby="layers-title">
          <h2 id="layers-title">The layers
            ${explain(
              "A neuron adds up what it hears, each times a weight, and passes it on through its activation function. A filter does so at each place of the picture.",
              network.layers[0].filters ? "the-convolutional-network" : "neurons", "the layers",
            )}</h2>
          <p class="quiet">The more orange, the more it puts out; blue is below 0. Lines are the strongest wires: solid ones
            add, dashed ones take away.</p>
          ${look ? this.layers.template(network, look, this.model.get("neuron"), this.silent()) : nothing}
        </section>
        <section class=${`neuron ${this.shown() ? "held" : ""}`} aria-labelledby="neuron-title">${neuron(this)}</section>
      </div>
      ${look ? code(look.code) : nothing}`;
  }

}
