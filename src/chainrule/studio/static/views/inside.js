// @ts-check
// Inside: the neurons of a network, which pixels decided, and what happens without a neuron.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { bytes, floats } from "../parts/arrays.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import { Pad } from "../parts/pad.js";
import { gray, overlay, signed } from "../parts/pictures.js";
import { decode, encode } from "../parts/strokes.js";
import { Attention } from "./inside/attention.js";
import { Layers } from "./inside/layers.js";
import { Question } from "./inside/question.js";

/** @type {Record<string, string>} */
const PACKAGED = { shipped: "digits (in the package)", shipped_words: "words (in the package)" };
const HOVER = 60; // milliseconds on a neuron until it is asked about
const MAPS = { "": "no map", gradient: "gradient", integrated: "integrated gradients", occlusion: "occlusion" };
/** @type {Record<string, string>} */
const MEANINGS = {
  gradient: "Where a little more ink would raise the score (orange) or lower it (blue).",
  integrated: "How much each pixel adds to the score (orange) or takes from it (blue).",
  occlusion: "Where covering a square of 5×5 pixels makes it less probable (orange) or more (blue).",
};

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

class Inside {
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
  async ask({ surgery = false } = {}) {
    if (this.network?.kind !== "images") return;
    if (this.drawing && !this.pad.strokes.length) return;
    const buffers = this.drawing ? [await this.pad.png()] : [];
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

  async download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([await this.pad.png()], { type: "image/png" }));
    link.download = "drawing.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // What is shown

  /** The layer and number of the neuron that is held on to, or null. @returns {number[] | null} */
  chosen() {
    const key = this.model.get("neuron");
    return key ? key.split(".").map(Number) : null;
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
    this.paintPicture();
    if (this.look) this.layers.paint(this.el, this.look, this.silent());
    this.paintNeuron();
    this.attention.paint(this.el);
    this.wire();
  }

  wire() {
    const key = this.hovered || this.model.get("neuron");
    if (this.look) this.layers.wire(this.el, this.look, key, this.neurons.get(key)?.weights);
  }

  paintPicture() {
    const canvas = /** @type {HTMLCanvasElement | null} */ (this.el.querySelector("canvas.picture"));
    if (!canvas || !this.look) return;
    const [height, width] = this.network.shape;
    if (this.map && this.model.get("map")) overlay(canvas, this.look.picture, this.map.pixels, width, height);
    else gray(canvas, this.look.picture, width, height);
  }

  paintNeuron() {
    const known = this.neurons.get(this.hovered || this.model.get("neuron"));
    if (!known) return;
    const all = (/** @type {string} */ name) =>
      /** @type {NodeListOf<HTMLCanvasElement>} */ (this.el.querySelectorAll(`.neuron canvas.${name}`));
    const cut = (/** @type {any} */ values, /** @type {number} */ i, /** @type {number} */ size) =>
      values.subarray(i * size, (i + 1) * size);
    all("weights").forEach((canvas, i) => {
      const [, height, width] = known.weights.shape;
      signed(canvas, cut(known.weights.pictures, i, height * width), width, height);
    });
    if (!known.top) return;
    const [, height, width] = known.top.shape;
    all("top").forEach((canvas, i) => gray(canvas, cut(known.top.pictures, i, height * width), width, height));
    all("mean").forEach((canvas) => gray(canvas, known.top.mean.map((/** @type {number} */ value) => 255 * value), width, height));
  }

  /** @param {number} index */
  name(index) {
    return this.network.classes[index] === "none" ? "no digit" : this.network.classes[index];
  }

  template() {
    const { network } = this;
    return html`
      <p>${network?.kind === "text"
        ? "A language model of this kind looks back at the words before: see which head looks where."
        : "Point at a neuron: what does it look for? Then silence it, and see whether the network misses it."}</p>
      <p class="buttons">
        <label>Network
          <select @change=${changed((run) => this.set({ run, neuron: "", silent: "", of: "" }))}>
            ${network?.runs.map((run) => option(run, PACKAGED[run] ?? run, network.run))}
          </select>
        </label>
        ${network?.kind === "images" ? this.pictureChoice() : nothing}
      </p>
      <p class="notice" role="alert" ?hidden=${!this.error && network?.kind !== "none"}>${this.error || network?.sentence}</p>
      ${network ? nothing : html`<p>Opening the network…</p>`}
      ${network?.kind === "text" ? this.attention.template() : nothing}
      ${network?.kind === "images" ? this.desk() : nothing}`;
  }

  pictureChoice() {
    const { network } = this;
    const next = (this.model.get("image") + 1) % network.count;
    return html`
      <label ?hidden=${this.drawing}>Test image
        <input type="number" min="0" max=${network.count - 1} .value=${String(this.model.get("image"))}
          @change=${changed((number) => this.set({ image: Math.trunc(Number(number)) || 0 }))}>
      </label>
      <button ?hidden=${this.drawing} @click=${() => this.set({ image: next })}>Next</button>
      ${network.drawable
        ? html`<button @click=${() => this.draw(!this.drawing)}>${this.drawing ? "Test images" : "Draw a digit"}</button>`
        : nothing}
      ${this.drawing
        ? html`<button @click=${() => this.pad.clear()}>Clear</button>
            <button @click=${() => this.download()}>Save</button>`
        : nothing}`;
  }

  desk() {
    const { look, network } = this;
    return html`
      <div class="desk">
        <section aria-labelledby="picture-title">
          <h2 id="picture-title">The picture</h2>
          ${this.drawing ? this.pad.template() : nothing}
          <canvas class="picture" role="img" aria-label="What the network sees" ?hidden=${!look}></canvas>
          <p class="answer" aria-live="polite">${look ? this.sentence() : "Draw a digit."}</p>
          ${this.mapChoice()}
          <table class="bars">
            <caption class="spoken">The probability of each class</caption>
            <tbody>${network.classes.map((_, i) => html`
              <tr class=${look?.answer === i ? "best" : ""}>
                <th scope="row">${this.name(i)}</th>
                <td><meter min="0" max="1" .value=${look?.probabilities[i] ?? 0} aria-label=${this.name(i)}></meter></td>
                <td class="number">${look ? percent(look.probabilities[i]) : ""}</td>
              </tr>`)}</tbody>
          </table>
          <p class="quiet">${network.about}</p>
        </section>
        <section aria-labelledby="layers-title">
          <h2 id="layers-title">The layers
            ${explain(
              "A neuron adds up what it hears, each times a weight, and passes it on through its activation function. A filter does so at each place of the picture.",
              network.layers[0].filters ? "the-convolutional-network" : "neurons", "the layers",
            )}</h2>
          ${look ? this.layers.template(network, look, this.model.get("neuron"), this.silent()) : nothing}
        </section>
        <section class="neuron" aria-labelledby="neuron-title">${this.surgery()}${this.neuron()}</section>
      </div>
      ${look ? code(look.code) : nothing}`;
  }

  /** @returns {string} */
  sentence() {
    const { look } = this;
    const right = look.label === null ? "" : look.label === look.answer ? ". Right." : `. It is ${this.name(look.label)}.`;
    return `${this.name(look.answer)}: ${percent(look.probabilities[look.answer])}${right}`;
  }

  mapChoice() {
    const map = this.model.get("map");
    const of = this.model.get("of");
    return html`
      <p class="buttons"><label>Which pixels decided?
        <select @change=${changed((name) => this.set({ map: name }))}>
          ${Object.entries(MAPS).map(([name, label]) => option(name, label, map))}</select>
      </label>
      ${map ? html`<label>for
        <select aria-label="For which class" @change=${changed((value) => this.set({ of: value }))}>
          ${option("", "the answer", of)}
          ${this.chosen() ? option("neuron", "the chosen neuron", of) : nothing}
          ${this.network.classes.map((_, i) => option(String(i), this.name(i), of))}
        </select></label>` : nothing}
      ${explain(
        "The gradient is the chain rule, carried on to the pixels; occlusion covers a part of the picture and asks again.",
        "the-chain-rule", "the maps",
      )}</p>
      ${map ? html`<p class="quiet">${this.isHiddenNeurons() ? MEANINGS.gradient : MEANINGS[map]}
        ${this.map ? `Strongest: ${figure(this.map.largest)}.` : "…"}</p>` : nothing}`;
  }

  /** Whether the map is of a neuron of a hidden layer, of which there is a gradient only. */
  isHiddenNeurons() {
    const { layer } = this.subject();
    return layer !== undefined && layer < this.network.layers.length - 1;
  }

  surgery() {
    const silent = this.silent();
    const { accuracy } = this;
    return html`
      <h2>Surgery
        ${explain(
          "A silent neuron's outgoing weights are 0: the next layer hears nothing of it. A network that learned well can miss most of its neurons.",
          "dead-neurons", "surgery",
        )}</h2>
      <p aria-live="polite" class="accuracy">${!silent.length
        ? "No neuron is silent."
        : `${silent.length} silent. ${accuracy
          ? `Of ${accuracy.count.toLocaleString("en")} test images it read ${percent(accuracy.before, 2)} right; now ${percent(accuracy.after, 2)}.`
          : "Reading all test images without…"}`}</p>
      <p class="buttons" ?hidden=${!silent.length}>
        <button @click=${() => this.set({ silent: silent.slice(0, -1).join("-") })}>Undo</button>
        <button @click=${() => this.set({ silent: "" })}>Let all speak</button>
      </p>`;
  }

  neuron() {
    const key = this.hovered || this.model.get("neuron");
    const hint = html`<h2 id="neuron-title">A neuron</h2><p class="quiet">Point at a neuron, or go to one with Tab and the
      arrow keys. Enter holds on to it, Delete silences it.</p>`;
    if (!key || !this.look) return hint;
    const [layer, neuron] = key.split(".").map(Number);
    const isAnswer = layer === this.network.layers.length - 1;
    const kind = this.network.layers[layer].filters ? "filter" : "neuron";
    const { weights, top, waiting } = this.neurons.get(key) ?? {};
    const isSilent = this.silent().includes(key);
    const shown = weights?.shape[0] ?? 0;
    return html`
      <h2 id="neuron-title">${isAnswer ? `The neuron for ${this.name(neuron)}` : `Layer ${layer + 1}, ${kind} ${neuron}`}</h2>
      <p>${kind === "filter" ? "At most it" : "It"} puts out <strong>${figure(this.layers.value(this.look, layer, neuron))}</strong>
        for this picture.</p>
      ${isAnswer ? nothing : html`<p class="buttons"><button @click=${() => this.toggle(key)}>
        ${isSilent ? "Let it speak" : "Silence it"}</button></p>`}
      ${shown ? html`<h3>${kind === "filter" ? "Its weights" : "What it looks for: its weights"}</h3>
        <p class="row">${Array.from({ length: shown }, (_, i) => html`<canvas class="weights" role="img"
          aria-label=${weights.in.length ? `weights from ${weights.in[i]?.[0]}` : "weights"}></canvas>`)}</p>
        <p class="quiet">Ink on orange excites it, ink on blue calms it.</p>` : nothing}
      <h3>What excites it most ${explain(
        "Of the training images those for which its output is largest, and their mean: what they have in common.",
        layer ? "the-network-reads-digits" : "neurons", "these images")}</h3>
      ${top
        ? html`<p class="row">${top.indices.map((/** @type {number} */ index, /** @type {number} */ i) => html`
            <canvas class="top" role="img" aria-label=${`training image ${index}, ${this.name(top.labels[i])}: ${figure(top.values[i])}`}></canvas>`)}
            <canvas class="mean" role="img" aria-label="their mean"></canvas></p>
          <p class="quiet">${top.values[0] > 0
            ? `Among ${top.among}: ${top.labels.map((/** @type {number} */ label) => this.name(label)).join(", ")}; the last picture is their mean.`
            : `None: for all of ${top.among} it puts out 0 or less.`}</p>`
        : html`<p class="quiet">${waiting ? "Looking through the training images…" : "…"}</p>`}
      ${this.partners("Hears most from", weights?.in, layer - 1)}
      ${this.partners("Is heard most by", weights?.out, layer + 1)}`;
  }

  /** @param {string} title @param {[number, number][] | undefined} pairs @param {number} layer */
  partners(title, pairs, layer) {
    if (!pairs?.length) return nothing;
    const last = this.network.layers.length - 1;
    return html`<h3>${title}</h3><ul class="partners">${pairs.map(([index, weight]) => html`
      <li><button @click=${() => { this.hovered = ""; this.set({ neuron: `${layer}.${index}` }); }}>
        ${layer === last ? this.name(index) : index}</button> ${figure(weight)}</li>`)}</ul>`;
  }
}

/** A listener to a field. @param {(value: string) => void} use */
const changed = (use) => (/** @type {any} */ event) => use(event.target.value);

/** @param {string} value @param {string} label @param {string} chosen */
const option = (value, label, chosen) => html`<option value=${value} .selected=${value === chosen}>${label}</option>`;

/** @param {number} value @param {number} [digits] */
const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}%`;

/** A number with three digits. @param {number} value */
const figure = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
