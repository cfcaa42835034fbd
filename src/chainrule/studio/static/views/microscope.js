// @ts-check
// Microscope: one weight, one image, and the four equations of backpropagation with their numbers.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { doubles, floats, integers } from "../parts/arrays.js";
import { cells, paintCells } from "../parts/cells.js";
import { code } from "../parts/code.js";
import { grid, number, ravel, readable, unravel } from "../parts/numbers.js";
import { savePicture } from "../parts/files.js";
import { Pad } from "../parts/pad.js";
import { decode, encode } from "../parts/strokes.js";
import { blame, difference, slope, update } from "./microscope_equations.js";
import { graph, paintGraph, position } from "./microscope_graph.js";
import { layerOf, spot, title, where } from "./microscope_names.js";

const DRAWING = -1; // the image's number

/** What is looked at. */
const SPOT = { weight: "", at: "", layer: "", unit: "" };
export const defaults = { run: "", image: 0, label: -1, strokes: "", kept: "", ...SPOT, step: 0 };

export default {
  /** @param {{ model: any, el: HTMLElement }} context */
  render({ model, el }) {
    new Microscope(model, el);
  },
};

/** @typedef {import("./microscope_equations.js").Seen} Seen */

class Microscope {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.el = el;
    /** @type {string[]} */
    this.names = [];
    this.chosen = ""; // the run that is shown if none is asked for
    /** @type {Seen | null} */
    this.seen = null;
    /** @type {import("./microscope_graph.js").Picture | null} */
    this.picture = null;
    this.fault = "";
    this.number = 0; // of the newest question
    this.asked = this.answered = 0;
    this.isAsking = this.isChanging = false;
    /** @type {Set<string>} */
    this.listed = new Set(); // the sums whose terms are all listed
    /** @type {Record<string, string>[]} */
    this.trail = []; // what was looked at before
    this.pad = new Pad(decode(model.get("strokes")), { changed: (finished) => this.drawn(finished) });
    model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ arrays) => this.told(content, arrays));
    model.on("connected", () => this.begin());
    // What changes the state is here, or a notebook
    for (const key of ["run", "image", "label", "strokes", ...Object.keys(SPOT)]) model.on(`change:${key}`, () => this.changed());
    model.on("change:step", () => this.stepped());
    this.show();
    this.begin();
  }

  begin() {
    this.isAsking = false;
    this.model.send({ ask: "networks" });
    if (this.model.get("kept")) this.model.send({ ask: "kept", key: this.model.get("kept") });
    else this.look();
  }

  /** @param {any} content @param {DataView[]} arrays */
  told(content, arrays) {
    if (content.tell === "networks") {
      this.names = content.names;
      this.chosen = content.chosen;
    } else if (content.tell === "kept") {
      this.model.set("kept", content.key);
      this.model.save_changes();
    } else if (content.tell === "strokes") {
      this.pad.strokes.splice(0, Infinity, ...decode(content.text));
      this.look();
    } else if (content.error || content.tell === "look") {
      this.isAsking = false;
      if (this.number !== this.asked) {
        this.number -= 1; // of the state that has changed meanwhile
        this.look();
      } else if (content.error) {
        this.fault = content.error;
        this.seen = this.picture = null;
        this.answered = this.number;
      } else this.take(content, arrays);
    } else if (content.number === this.number) {
      this.picture = { ...content, value: floats(arrays[0]), gradient: floats(arrays[1]) };
    }
    this.show();
  }

  /** @param {any} content @param {DataView[]} arrays */
  take(content, arrays) {
    const rest = arrays.values();
    const next = () => /** @type {DataView} */ (rest.next().value);
    const factors = () => {
      const values = doubles(next());
      const flat = integers(next());
      const depth = flat.length / values.length;
      return { values, indices: Array.from(values, (_, i) => [...flat.subarray(i * depth, (i + 1) * depth)]) };
    };
    const [pixels, weights] = [doubles(next()), doubles(next())];
    const [deltas, activations] = [factors(), factors()];
    for (const way of content.unit?.ways ?? []) {
      if (way.count) [way.weights, way.deltas] = [factors(), factors()];
    }
    this.seen = { ...content, pixels, weights, deltas, activations };
    this.fault = "";
    this.answered = this.number;
    this.ask({ ask: "operation", operation: this.at().operation });
  }

  /** Ask about the network and the image that are chosen. @param {object} question */
  ask(question) {
    const drawing = this.model.get("image") === DRAWING && this.pad.strokes.length ? [this.pad.png()] : [];
    const [run, image, label] = ["run", "image", "label"].map((key) => this.model.get(key));
    this.model.send({ ...question, run, image, label, number: this.number }, undefined, drawing);
  }

  /** Look at what the state says; while an answer is awaited, only the newest state is kept. */
  look() {
    this.number += 1;
    this.show();
    if (this.isAsking) return;
    this.isAsking = true;
    this.asked = this.number;
    const [weight, at, layer, unit] = Object.keys(SPOT).map((key) => this.model.get(key));
    this.ask({ ask: "look", weight, at: list(at), layer, unit: list(unit) });
  }

  /** Change the state. @param {Record<string, string | number>} state */
  go(state) {
    for (const [key, value] of Object.entries(state)) this.model.set(key, value);
    this.model.save_changes();
  }

  /** Look again, once for all that changes at the same time. */
  changed() {
    if (this.isChanging) return;
    this.isChanging = true;
    queueMicrotask(() => {
      this.isChanging = false;
      const strokes = this.model.get("strokes");
      const { text, isShort } = encode(this.pad.strokes);
      if (isShort && text !== strokes) this.pad.strokes.splice(0, Infinity, ...decode(strokes)); // a notebook's
      this.look();
    });
  }

  /** @param {Record<string, string>} state @param {boolean} isJump whether one may want to go back */
  goOn(state, isJump) {
    if (isJump) this.trail.push(Object.fromEntries(Object.keys(SPOT).map((key) => [key, this.model.get(key)])));
    this.listed.clear();
    this.go({ ...SPOT, ...state });
  }

  /** @param {string} name @param {number[]} at @param {boolean} [isJump] */
  toWeight(name, at, isJump = true) {
    this.goOn({ weight: name, at: at.join() }, isJump);
  }

  /** @param {string} layer @param {number[]} at @param {boolean} [isJump] */
  toUnit(layer, at, isJump = true) {
    const { weight } = /** @type {Seen} */ (this.seen);
    this.goOn({ weight: weight.name, at: weight.index.join(), layer, unit: at.join() }, isJump);
  }

  /** What the state has chosen, which may be ahead of the answer: a weight of its layer, null for a bias; a δ. @param {Seen} seen */
  spot({ weight, unit }) {
    const { model } = this;
    const name = model.get("weight") || weight.name;
    const isWeight = name === `${weight.layer}.weight` && model.get("at");
    const isUnit = unit && model.get("layer") === unit.layer && model.get("unit");
    return {
      at: isWeight ? list(model.get("at")) : name.endsWith(".bias") ? null : weight.index,
      unit: isUnit ? list(model.get("unit")) : unit?.index ?? [],
    };
  }

  /** @param {boolean} finished */
  drawn(finished) {
    this.pad.repaint();
    if (!finished) return;
    const { text, isShort } = encode(this.pad.strokes);
    if (!isShort) this.model.send({ ask: "keep", text });
    this.go({ strokes: isShort ? text : "", kept: "", image: DRAWING });
    this.changed(); // a long drawing changes nothing else
  }

  at() {
    return position(this.model.get("step"), this.seen?.operations.length ?? 1);
  }

  stepped() {
    const isInList = this.el.querySelector(".operations :focus");
    this.show();
    if (isInList) /** @type {HTMLElement} */ (this.el.querySelector('.operations [aria-current="step"]')).focus();
    this.ask({ ask: "operation", operation: this.at().operation });
  }

  download() {
    savePicture(this.pad.png(), "drawing.png");
  }

  show() {
    put(this.template(), this.el);
    this.el.toggleAttribute("data-is-settled", this.answered === this.number);
    paintCells(this.el);
    if (this.model.get("image") === DRAWING) this.pad.redraw(this.el);
    if (this.picture) paintGraph(this.el, this.picture);
  }

  template() {
    const { seen, picture } = this;
    return html`
      <p class="lead">Weights are the numbers that a network learns. Click one to see how backpropagation finds the way to change it, number by number.</p>
      ${this.controls()}
      <p class=${this.fault ? "answer notice" : "answer"} role="status">${this.fault || (seen ? sentence(seen) : "Computing…")}</p>
      ${seen ? html`
        <div class="columns">${this.image(seen)}${this.weights(seen)}</div>
        <p class="spoken" aria-live="polite">${where(seen.network, seen.weight)}: ${readable(seen.weight.value)}, slope ${readable(seen.weight.sum)}</p>
        <p class="buttons"><button @click=${() => this.go(this.trail.pop() ?? {})} ?disabled=${!this.trail.length}>Back to where I was</button></p>
        <div class="cards" data-weight=${[seen.weight.name, ...seen.weight.index].join()}>${slope(this, seen)}${seen.unit ? blame(this, seen, seen.unit) : nothing}${difference(seen.weight)}${update(seen.weight)}</div>
        ${graph(seen.operations, this.model.get("step"), picture, (step) => this.go({ step }))}
        ${code(seen.code)}` : nothing}`;
  }

  controls() {
    const { model, seen, names } = this;
    const run = model.get("run") || this.chosen;
    const image = model.get("image");
    const toRun = (/** @type {string} */ name) => {
      this.trail = [];
      this.go({ ...SPOT, run: name === this.chosen ? "" : name, label: -1, step: 0 });
    };
    return html`
      <div class="controls">
        <label>Network
          <select @change=${pick(toRun)}>
            ${(names.includes(run) ? names : [run, ...names]).map((name) =>
              html`<option value=${name} .selected=${name === run}>${name.replace(/^untrained\/(.*)/, "$1, untrained").replace(/^shipped$/, "digits (in the package)")}</option>`)}
          </select></label>
        <label>Image number
          <input type="number" min="0" max=${seen ? seen.image.count - 1 : 0} .value=${image === DRAWING ? "" : String(image)}
            placeholder="drawn" @change=${pick((text) => text && this.go({ image: Number(text), label: -1 }))}></label>
        <button @click=${() => this.go({ image: (image + 1) % (seen?.image.count ?? 1e9), label: -1 })}>Next image</button>
        <button @click=${() => this.go({ image: DRAWING, label: -1 })} ?disabled=${image === DRAWING}>Draw a digit</button>
        ${seen ? html`<label>The right answer
          <select @change=${pick((text) => this.go({ label: Number(text) }))}>
            ${seen.network.classes.map((name, i) => html`<option value=${i} .selected=${i === seen.image.target}>${name}</option>`)}
          </select></label>` : nothing}
      </div>
      ${image === DRAWING ? html`${this.pad.template("pen")}
        <p class="buttons"><button @click=${() => this.pad.undo()}>Undo</button><button @click=${() => this.pad.clear()}>Clear</button>
          <button @click=${() => this.download()}>Save</button></p>
        <p class="quiet keys" id="pen">By keyboard: arrows move the pen, Space puts it down and lifts it.</p>` : nothing}`;
  }

  /** @param {Seen} seen */
  image(seen) {
    const { network, image, pixels, weight, activations } = seen;
    const [height, width] = image.shape.slice(-2);
    const isFirst = layerOf(network.layers, weight.layer) === network.layers[0] && !weight.isBias && activations.indices.length === 1;
    const chosen = isFirst ? this.spot(seen).at?.[1] ?? -1 : -1;
    const choose = (/** @type {number} */ at) => isFirst && this.toWeight(weight.name, [weight.index[0], at], false);
    return html`
      <section aria-labelledby="image-title"><h2 id="image-title">The image</h2>
        ${cells(`The image, ${height} by ${width} pixels${isFirst ? `; marked: ${spot(unravel(chosen, image.shape).slice(-2))}` : ""}`,
          { values: pixels.map((value) => value / 255), height, width, chosen, choose, gray: true })}
        <p class="quiet">For the network, black is 0 and white is 1. The network: ${network.about}.</p>
      </section>`;
  }

  /** @param {Seen} seen */
  weights(seen) {
    const { network, weight, weights } = seen;
    const { layers } = network;
    const layer = layerOf(layers, weight.layer);
    const [units, ...rest] = layer.weight;
    const isRow = rest.length > 0; // of a neuron or a filter; otherwise one number for each channel
    const shape = rest.length === 1 ? layer.from : isRow ? rest : [units];
    const [height, width] = shape.length > 1 ? shape.slice(-2) : grid(shape[0]);
    const { at } = this.spot(seen);
    const [unit, ...inside] = at ?? weight.index;
    const chosen = at ? (isRow ? ravel(inside, rest) : unit) : -1;
    const choose = (/** @type {number} */ position) =>
      this.toWeight(`${layer.name}.weight`, isRow ? [unit, ...unravel(position, rest)] : [position], false);
    const toUnit = (/** @type {string} */ text) => {
      const next = Math.max(0, Math.min(units - 1, Math.round(Number(text))));
      this.toWeight(weight.name, [next, ...weight.index.slice(1)]);
    };
    const what = rest.length > 1 ? "filter" : "neuron";
    return html`
      <section aria-labelledby="weights-title"><h2 id="weights-title">Choose a weight</h2>
        <div class="controls">
          <label>Layer
            <select @change=${pick((name) => this.toWeight(`${name}.weight`, layerOf(layers, name).weight.map(() => 0)))}>
              ${layers.map((each) => html`<option value=${each.name} .selected=${each === layer}>${title(each)}</option>`)}
            </select></label>
          ${isRow ? html`<label>${what === "filter" ? "Filter" : "Neuron"} (0 to ${units - 1})
            <input type="number" min="0" max=${units - 1} .value=${String(unit)} @change=${pick(toUnit)}></label>` : nothing}
          ${layer.bias ? html`<button aria-pressed=${weight.isBias} @click=${() => this.toWeight(`${layer.name}.bias`, [unit])}>Its bias</button>` : nothing}
        </div>
        ${cells(`The weights of ${isRow ? `${what} ${unit} of ` : ""}layer ${layer.name}. Chosen: ${where(network, weight)}. Arrow keys move.`,
          { values: weights, height, width, chosen, choose })}
        <p class="quiet">Orange is above zero, blue below. Click, or move with the arrow keys.</p>
      </section>`;
  }
}

/** @param {Seen} seen */
function sentence({ network: { classes }, says, image, cost }) {
  const right = image.isAssumed ? "suppose that is right" : says === image.target ? "that is right" : `the right answer is ${classes[image.target]}`;
  return html`The network says ${classes[says]}; ${right}. Its cost C is ${number("cost", cost)}.`;
}

/** @param {(value: string) => void} f */
const pick = (f) => (/** @type {any} */ event) => f(event.target.value);

/** @param {string} text */
const list = (text) => (text ? text.split(",").map(Number) : []);
