// @ts-check
// Inside: the neurons of a network, which pixels decided, and what happens without a neuron.

import { bytes, floats } from "../parts/arrays.js";
import { alert, code, nameOf, section } from "../parts/elements.js";
import { select } from "../parts/fields.js";
import { Pad } from "../parts/pad.js";
import { Question } from "../parts/question.js";
import { html, nothing } from "../parts/template.js";
import { View, module } from "../parts/view.js";
import { Attention } from "./inside/attention.js";
import { Layers } from "./inside/layers.js";
import { neuron, paintNeuron } from "./inside/neuron.js";
import { paintPicture, pictureChoice, pictureSection } from "./inside/picture.js";

const HOVER = 60; // milliseconds on a neuron until it is asked about
export const defaults = {
  run: "", image: 0, strokes: "", kept: "", map: "", of: "", neuron: "", silent: "", text: "", head: "0.0", token: -1,
};

const nothingYet = /** @type {any} */ (null);

export class Inside extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    /** @type {inside.Network} */
    this.network = nothingYet;
    // The newest answers
    /** @type {inside.Look} */
    this.look = nothingYet;
    /** @type {inside.PixelMap} */
    this.map = nothingYet;
    /** @type {inside.Accuracy} */
    this.accuracy = nothingYet;
    this.drawing = Boolean(this.get("strokes") || this.get("kept"));
    this.changing = false; // by this view itself
    /** @type {Map<string, inside.Neuron>} by "LAYER.NEURON" */
    this.neurons = new Map();
    this.hovered = "";
    this.opening = 0; // counts the networks that were opened: what is told of an earlier one is left out
    this.pad = new Pad(this, { changed: (finished) => finished && this.drew(), loaded: () => this.ask() });
    this.questions = {
      look: new Question(this, "look", () => this.subject(this.chosen() ?? [0, 0])),
      map: new Question(this, "map", () => this.subject(this.mapped(), { map: this.get("map") })),
      surgery: new Question(this, "surgery", () => ({ run: this.network.run, silent: this.get("silent") })),
    };
    this.layers = new Layers({
      point: (key) => this.point(key),
      choose: (key) => this.set({ neuron: key }),
      silence: (key) => this.toggle(key),
    });
    this.attention = new Attention(this);
    this.listen({
      ...this.pad.answers,
      open: (network) => network.number === this.opening && this.opened(network),
      look: (content, [picture, ...outputs]) => this.take(this.questions.look, content, () => {
        this.error = "";
        this.look = { ...content, picture: bytes(picture), outputs: outputs.map(floats) };
      }),
      map: (content, [pixels]) => this.take(this.questions.map, content, () => (this.map = { ...content, pixels: floats(pixels) })),
      surgery: (content) => this.take(this.questions.surgery, content, () => (this.accuracy = content)),
      attention: (content, [weights]) => this.take(this.attention.question, content, () => this.attention.take(content, weights)),
      neuron: (content, buffers) => this.toldNeuron(content, buffers),
      top: (content, buffers) => this.toldNeuron(content, buffers),
      error: ({ error }) => {
        for (const question of Object.values(this.questions)) question.reset();
        this.error = error;
      },
    }, () => this.open());
    for (const key of Object.keys(defaults)) this.model.on(`change:${key}`, () => this.changing || this.open()); // by a notebook
    const observer = new ResizeObserver(() => this.wire());
    observer.observe(this.el);
    this.signal.addEventListener("abort", () => observer.disconnect());
    this.show();
    this.open();
  }

  // Questions

  open() {
    for (const question of Object.values(this.questions)) question.reset();
    this.opening += 1;
    this.network = this.look = this.map = this.accuracy = nothingYet;
    this.neurons.clear();
    this.layers.stops.clear();
    this.pad.load();
    this.send("open", { number: this.opening, run: this.get("run") });
  }

  /** Ask again for all that depends on the picture or on who is silent. */
  ask({ surgery = false } = {}) {
    if (this.network?.kind !== "images") return;
    const { look, map } = this.questions;
    if (this.drawing && this.pad.isEmpty) return [look, map].forEach((question) => question.reset());
    look.ask();
    if (this.get("map")) map.ask();
    if (surgery) this.operate();
  }

  operate() {
    this.accuracy = nothingYet;
    if (this.get("silent")) this.questions.surgery.ask();
    else this.questions.surgery.reset();
  }

  /** What a question is about: the picture, and a neuron. @param {number[] | null} key @param {object} [more] */
  subject(key, more) {
    const neuron = key ? { layer: key[0], neuron: key[1] } : {};
    const picture = { run: this.network.run, image: this.get("image"), silent: this.get("silent") };
    return { ...picture, ...more, ...neuron, buffers: this.drawing ? [this.pad.png()] : [] };
  }

  /** The neuron whose map is shown; null for the answer's. */
  mapped() {
    const of = this.get("of");
    return of === "neuron" ? this.chosen() : /^\d+$/.test(of) ? [this.network.layers.length - 1, Number(of)] : null;
  }

  /** @param {string} key */
  examine(key) {
    if (!key || this.neurons.has(key)) return;
    const [layer, neuron] = numbers(key);
    this.neurons.set(key, {});
    for (const what of ["neuron", "top"]) this.send(what, { number: this.opening, run: this.network.run, layer, neuron });
  }

  // What the server says

  /** Take the newest answer to a question. @param {Question} question @param {any} content @param {() => void} use */
  take(question, content, use) {
    if (!question.answered(content) || question.isBusy) return;
    if (content.error) this.error = content.error;
    else use();
  }

  /** @param {inside.Network} network */
  opened(network) {
    this.network = network;
    this.error = "";
    if (network.kind === "text") return this.attention.open();
    if (network.kind !== "images") return;
    this.drawing &&= network.drawable;
    const [key, layer, neuron] = /^(\d+)\.(\d+)$/.exec(this.get("neuron")) ?? ["", 0, 0];
    const image = this.get("image");
    this.update({
      neuron: Number(neuron) < (network.layers[Number(layer)]?.size ?? 0) ? key : "",
      image: Number.isInteger(image) && image >= 0 && image < network.count ? image : 0,
    });
    this.examine(this.get("neuron"));
    this.ask({ surgery: true });
  }

  /** @param {any} content @param {DataView[]} buffers */
  toldNeuron(content, buffers) {
    if (content.error) this.error = content.error;
    if (content.error || content.number !== this.opening) return;
    const { tell, layer, neuron } = content;
    const key = `${layer}.${neuron}`;
    const known = this.neurons.get(key) ?? {};
    if (tell === "neuron") known.weights = { ...content, pictures: floats(buffers[0]) };
    else if (content.waiting) {
      known.waiting = true;
      this.send("top", { number: this.opening, run: this.network.run, layer, neuron });
    } else known.top = { ...content, pictures: bytes(buffers[0]), mean: floats(buffers[1]) };
    this.neurons.set(key, known);
  }

  // What the person does

  /** Change the state. @param {Record<string, Value>} state */
  update(state) {
    this.changing = true;
    super.update(state);
    this.changing = false;
  }

  /** Change the state, and what depends on it. @param {Record<string, Value>} state */
  set(state) {
    this.update(state);
    if ("run" in state) this.open();
    else {
      if ("neuron" in state) this.examine(this.get("neuron"));
      if ("map" in state || "image" in state || "of" in state) this.map = nothingYet;
      this.ask({ surgery: "silent" in state });
    }
    this.show();
  }

  /** @param {string} key the neuron under the pointer or the focus; "" for none */
  point(key) {
    this.hovered = key;
    this.later("hover", HOVER, () => {
      this.examine(key);
      this.show();
    });
  }

  /** @param {string} key */
  toggle(key) {
    if (numbers(key)[0] >= this.network.layers.length - 1) return;
    const silent = new Set(this.silent());
    if (!silent.delete(key)) silent.add(key);
    this.set({ silent: [...silent].join("-") });
  }

  drew() {
    this.map = nothingYet;
    if (this.drawing && this.pad.isEmpty) this.look = nothingYet;
    this.pad.save();
    this.set({});
  }

  /** @param {boolean} drawing */
  draw(drawing) {
    this.drawing = drawing;
    if (!drawing) this.pad.strokes = [];
    this.drew();
  }

  // What is shown

  /** The layer and number of the neuron that is held on to, or null. @returns {number[] | null} */
  chosen() {
    const key = this.get("neuron");
    return key ? numbers(key) : null;
  }

  /** The neuron under the pointer or the focus, or the chosen one; "" for none. @returns {string} */
  shown() {
    return this.hovered || this.get("neuron");
  }

  /** @returns {string[]} */
  silent() {
    return this.get("silent").split("-").filter(Boolean);
  }

  isSettled() {
    return Boolean(this.network) && !Object.values(this.questions).some((question) => question.isBusy);
  }

  paint() {
    this.pad.repaint();
    paintPicture(this);
    if (this.look) this.layers.paint(this.el, this.look);
    paintNeuron(this);
    this.attention.paint();
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

  /** @returns {object} */
  template() {
    const { network } = this;
    return html`
      <p class="lead">${network?.kind === "text"
        ? "A language model of this kind looks back at the words before: see which head looks where."
        : "Each small square is a neuron. Click one: what does it look for? Then silence it: does the network miss it?"}</p>
      <p class="buttons">
        ${select("Network", network?.runs ?? [], network?.run ?? "",
          (run) => this.set({ run, neuron: "", silent: "", of: "" }), { title: nameOf })}
        ${network?.kind === "images" ? pictureChoice(this) : nothing}
      </p>
      ${alert(this.error || (network?.sentence ?? ""))}
      ${network ? nothing : html`<p>Opening the network…</p>`}
      ${network?.kind === "text" ? this.attention.template() : nothing}
      ${network?.kind === "images" ? this.desk() : nothing}`;
  }

  desk() {
    const { look, network } = this;
    return html`
      <div class="desk">
        ${pictureSection(this)}
        ${section("layers", "The layers", html`
          <p class="quiet">The more orange, the more it puts out; blue is below 0. Lines are the strongest wires: solid ones
            add, dashed ones take away.</p>
          ${look ? this.layers.template(network, look, this.get("neuron"), this.silent()) : nothing}`, [
          "A neuron adds up what it hears, each times a weight, and passes it on through its activation function. A filter does so at each place of the picture.",
          network.layers[0].filters ? "the-convolutional-network" : "neurons",
        ])}
        <section class=${`neuron ${this.shown() ? "held" : ""}`} aria-labelledby="neuron-title">${neuron(this)}</section>
      </div>
      ${look ? code(look.code) : nothing}`;
  }
}

/** The numbers in "LAYER.NEURON". @param {string} key */
export const numbers = (key) => key.split(".").map(Number);

export default module(Inside);
