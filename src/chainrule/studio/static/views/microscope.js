// @ts-check
// Microscope: one weight, one image, and the four equations of backpropagation with their numbers.

import { doubles, floats, integers } from "../parts/arrays.js";
import { cells, paintCells } from "../parts/cells.js";
import { code, nameOf, section, spoken } from "../parts/elements.js";
import { button, numberField, select, toggle } from "../parts/fields.js";
import { grid, number, ravel, readable, unravel } from "../parts/numbers.js";
import { Pad } from "../parts/pad.js";
import { Question } from "../parts/question.js";
import { encode } from "../parts/strokes.js";
import { html, nothing } from "../parts/template.js";
import { View, module } from "../parts/view.js";
import { blame, difference, slope, update } from "./microscope_equations.js";
import { graph, paintGraph, position } from "./microscope_graph.js";
import { layerOf, spot, title, where } from "./microscope_names.js";

const DRAWING = -1; // the image's number

/** What is looked at. */
const SPOT = { weight: "", at: "", layer: "", unit: "" };
export const defaults = { run: "", image: 0, label: -1, strokes: "", kept: "", ...SPOT, step: 0 };

export class Microscope extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    /** @type {string[]} */
    this.names = [];
    this.chosen = ""; // the run that is shown if none is asked for
    /** @type {microscope.Seen | null} */
    this.seen = null;
    /** @type {microscope.Picture | null} */
    this.picture = null;
    this.isChanging = false;
    /** @type {Set<string>} */
    this.listed = new Set(); // the sums whose terms are all listed
    /** @type {Record<string, string>[]} */
    this.trail = []; // what was looked at before
    this.pad = new Pad(this, { changed: (finished) => finished && this.drawn(), loaded: () => this.question.ask() });
    this.question = new Question(this, "look", () => {
      const [weight, at, layer, unit] = this.spotState();
      return this.subject({ weight, at: list(at), layer, unit: list(unit) });
    });
    this.listen({
      ...this.pad.answers,
      networks: ({ names, chosen }) => [this.names, this.chosen] = [names, chosen],
      look: (content, arrays) => this.question.answered(content) && !this.question.isBusy && this.take(content, arrays),
      operation: (content, [value, gradient]) => {
        if (content.number === this.question.number) this.picture = { ...content, value: floats(value), gradient: floats(gradient) };
      },
      error: ({ error }) => {
        this.question.answered(this.question);
        if (this.question.isBusy) return; // the state has changed meanwhile
        this.error = error;
        this.seen = this.picture = null;
      },
    }, () => this.begin());
    // What changes the state is here, or a notebook
    for (const key of ["run", "image", "label", "strokes", ...Object.keys(SPOT)]) this.model.on(`change:${key}`, () => this.changed());
    this.model.on("change:step", () => this.stepped());
    this.begin();
    this.show();
  }

  begin() {
    this.question.reset();
    this.send("networks");
    if (this.get("kept")) this.pad.load();
    else this.question.ask();
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
    this.error = "";
    this.askOperation();
  }

  /** A question about the network and the image that are chosen. @param {object} question */
  subject(question) {
    const isDrawn = this.get("image") === DRAWING && !this.pad.isEmpty;
    const [run, image, label] = ["run", "image", "label"].map((key) => this.get(key));
    return { ...question, run, image, label, buffers: isDrawn ? [this.pad.png()] : [] };
  }

  askOperation() {
    const { buffers, ...content } = this.subject({ operation: this.at().operation, number: this.question.number });
    this.send("operation", content, buffers);
  }

  /** What the state says is looked at. @returns {string[]} */
  spotState() {
    return Object.keys(SPOT).map((key) => this.get(key));
  }

  /** Look again, once for all that changes at the same time. */
  changed() {
    if (this.isChanging) return;
    this.isChanging = true;
    queueMicrotask(() => {
      this.isChanging = false;
      const strokes = this.get("strokes");
      const { text, isShort } = encode(this.pad.strokes);
      if (isShort && text !== strokes) this.pad.answers.strokes({ text: strokes }, []); // a notebook's
      else this.question.ask();
      this.show();
    });
  }

  /** @param {Record<string, string>} state @param {boolean} isJump whether one may want to go back */
  goOn(state, isJump) {
    const [weight, at, layer, unit] = this.spotState();
    if (isJump) this.trail.push({ weight, at, layer, unit });
    this.listed.clear();
    this.update({ ...SPOT, ...state });
  }

  /** @param {string} name @param {number[]} at @param {boolean} [isJump] */
  toWeight(name, at, isJump = true) {
    this.goOn({ weight: name, at: at.join() }, isJump);
  }

  /** @param {string} layer @param {number[]} at @param {boolean} [isJump] */
  toUnit(layer, at, isJump = true) {
    const { weight } = /** @type {microscope.Seen} */ (this.seen);
    this.goOn({ weight: weight.name, at: weight.index.join(), layer, unit: at.join() }, isJump);
  }

  /** What the state has chosen, which may be ahead of the answer: a weight of its layer, null for a bias; a δ. @param {microscope.Seen} seen */
  spot({ weight, unit }) {
    const [chosen, at, layer, chosenUnit] = this.spotState();
    const name = chosen || weight.name;
    return {
      at: name === `${weight.layer}.weight` && at ? list(at) : name.endsWith(".bias") ? null : weight.index,
      unit: unit?.layer === layer && chosenUnit ? list(chosenUnit) : unit?.index ?? [],
    };
  }

  drawn() {
    this.pad.save({ image: DRAWING });
    this.changed(); // a long drawing changes nothing else
  }

  at() {
    return position(this.get("step"), this.seen?.operations.length ?? 1);
  }

  stepped() {
    const isInList = this.el.querySelector(".operations :focus");
    this.show();
    if (isInList) /** @type {HTMLElement} */ (this.el.querySelector('.operations [aria-current="step"]')).focus();
    this.askOperation();
  }

  isSettled() {
    return Boolean(this.seen || this.error) && !this.question.isBusy;
  }

  paint() {
    paintCells(this.el);
    this.pad.repaint();
    if (this.picture) paintGraph(this, this.picture);
  }

  /** @returns {object} */
  template() {
    const { seen, picture } = this;
    return html`
      <p class="lead">Weights are the numbers that a network learns. Click one to see how backpropagation finds the way to change it, number by number.</p>
      ${this.controls()}
      <p class=${this.error ? "answer notice" : "answer"} role="status">${this.error || (seen ? sentence(seen) : "Computing…")}</p>
      ${seen ? html`
        <div class="columns">${this.image(seen)}${this.weights(seen)}</div>
        ${spoken(`${where(seen.network, seen.weight)}: ${readable(seen.weight.value)}, slope ${readable(seen.weight.sum)}`)}
        <p class="buttons">${button("Back to where I was", () => this.update(this.trail.pop() ?? {}), !this.trail.length)}</p>
        <div class="cards" data-weight=${[seen.weight.name, ...seen.weight.index].join()}>${slope(this, seen)}${seen.unit ? blame(this, seen, seen.unit) : nothing}${difference(seen.weight)}${update(seen.weight)}</div>
        ${graph(seen.operations, this.get("step"), picture, (step) => this.update({ step }))}
        ${code(seen.code)}` : nothing}`;
  }

  controls() {
    const { seen, names } = this;
    const image = this.get("image");
    const toRun = (/** @type {string} */ name) => {
      this.trail = [];
      this.update({ ...SPOT, run: name === this.chosen ? "" : name, label: -1, step: 0 });
    };
    const toImage = (/** @type {number} */ next) => this.update({ image: next, label: -1 });
    return html`
      <div class="fields">
        ${select("Network", names, this.get("run") || this.chosen, toRun,
          { title: nameOf })}
        ${numberField("Image number", image === DRAWING ? "" : image, toImage, { max: seen ? seen.image.count - 1 : 0, hint: "drawn" })}
        ${button("Next image", () => toImage((image + 1) % (seen?.image.count ?? 1e9)))}
        ${button("Draw a digit", () => toImage(DRAWING), image === DRAWING)}
        ${seen ? select("The right answer", seen.network.classes.map((_, i) => i), seen.image.target,
          (label) => this.update({ label }), { title: (i) => seen.network.classes[i] }) : nothing}
      </div>
      ${image === DRAWING ? this.pad.template() : nothing}`;
  }

  /** @param {microscope.Seen} seen */
  image(seen) {
    const { network, image, pixels, weight, activations } = seen;
    const [height, width] = image.shape.slice(-2);
    const isFirst = layerOf(network.layers, weight.layer) === network.layers[0] && !weight.isBias && activations.indices.length === 1;
    const chosen = isFirst ? this.spot(seen).at?.[1] ?? -1 : -1;
    const choose = (/** @type {number} */ at) => isFirst && this.toWeight(weight.name, [weight.index[0], at], false);
    const mark = isFirst ? `; marked: ${spot(unravel(chosen, image.shape).slice(-2))}` : "";
    return section("image", "The image", html`
      ${cells(`The image, ${height} by ${width} pixels${mark}`,
        { values: pixels.map((value) => value / 255), height, width, chosen, choose, gray: true })}
      <p class="quiet">For the network, black is 0 and white is 1. The network: ${network.about}.</p>`);
  }

  /** @param {microscope.Seen} seen */
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
    const what = rest.length > 1 ? "filter" : "neuron";
    const toLayer = (/** @type {string} */ name) => this.toWeight(`${name}.weight`, layerOf(layers, name).weight.map(() => 0));
    const toUnit = (/** @type {number} */ next) => this.toWeight(weight.name, [next, ...weight.index.slice(1)]);
    return section("weights", "Choose a weight", html`
      <div class="fields">
        ${select("Layer", layers.map(({ name }) => name), layer.name, toLayer, { title: (name) => title(layerOf(layers, name)) })}
        ${isRow ? numberField(`${what === "filter" ? "Filter" : "Neuron"} (0 to ${units - 1})`, unit, toUnit, { max: units - 1 }) : nothing}
        ${layer.bias ? toggle("Its bias", weight.isBias, () => this.toWeight(`${layer.name}.bias`, [unit])) : nothing}
      </div>
      ${cells(`The weights of ${isRow ? `${what} ${unit} of ` : ""}layer ${layer.name}. Chosen: ${where(network, weight)}. Arrow keys move.`,
        { values: weights, height, width, chosen, choose })}
      <p class="quiet">Orange is above zero, blue below. Click, or move with the arrow keys.</p>`);
  }
}

/** @param {microscope.Seen} seen */
function sentence({ network: { classes }, says, image, cost }) {
  const right = image.isAssumed ? "suppose that is right" : says === image.target ? "that is right" : `the right answer is ${classes[image.target]}`;
  return html`The network says ${classes[says]}; ${right}. Its cost C is ${number("cost", cost)}.`;
}

/** @param {string} text */
const list = (text) => (text ? text.split(",").map(Number) : []);

export default module(Microscope);
