// @ts-check
// The network that the settings describe: its sizes, its weights in a frame, and what is said of its neurons.

import { clamp } from "../parts/numbers.js";
import { MOST, areClasses } from "./playground_choices.js";

export class Network {
  /** @param {(key: string) => any} get a setting by its name */
  constructor(get) {
    this.get = get;
    /** The symbols of all inputs that there are, by name. @type {Record<string, string>} */
    this.symbols = {};
  }

  /** The names of all inputs. */
  get inputs() {
    return Object.keys(this.symbols);
  }

  /** The inputs that are switched on. @returns {string[]} */
  get features() {
    return this.get("features").split("-");
  }

  /** The widths of the hidden layers. @returns {number[]} */
  get layers() {
    const widths = this.get("layers").split("-").filter(Boolean).slice(0, MOST.layers);
    return widths.map((/** @type {string} */ width) => Math.min(MOST.neurons, Number(width) || 1));
  }

  get classes() {
    return clamp(Math.round(this.get("classes")), 2, 4);
  }

  get outputs() {
    return areClasses(this.get("data")) && this.classes > 2 ? this.classes : 1;
  }

  /** How many units stand in each column of the diagram: all inputs, then the neurons of each layer. */
  get columns() {
    return [this.inputs.length, ...this.layers, this.outputs];
  }

  /** The weights and biases of a layer. @param {Float32Array} all of a frame @param {number} layer from 0 */
  parameters(all, layer) {
    const sizes = [this.features.length, ...this.layers, this.outputs];
    let start = 0;
    for (let i = 0; i < layer; i++) start += sizes[i + 1] * (sizes[i] + 1);
    const [inputs, width] = sizes.slice(layer);
    return { inputs, weights: all.subarray(start), biases: all.subarray(start + inputs * width) };
  }

  /** What a wire comes from, in a formula. @param {number} layer @param {number} from */
  source(layer, from) {
    if (!layer) return this.symbols[this.features[from]];
    return `a${"₁₂₃₄₅₆₇₈"[from]}`;
  }

  /** @param {playground.Unit} unit */
  name({ column, row }) {
    if (!column) return `Input ${this.symbols[this.inputs[row]]}`;
    if (column <= this.layers.length) return `Neuron ${row + 1} of layer ${column}`;
    return this.outputs > 1 ? `Output of class ${row + 1}` : "The output";
  }

  /** @param {playground.Wire} wire @param {playground.Frame} frame */
  describeWire({ layer, from, to }, frame) {
    const { inputs, weights } = this.parameters(frame.weights, layer);
    const start = layer ? `neuron ${from + 1} of layer ${layer}` : this.source(layer, from);
    const end = this.name({ column: layer + 1, row: to });
    return `Weight from ${start} to ${end[0].toLowerCase()}${end.slice(1)}: ${figure(weights[to * inputs + from])}`;
  }

  /** A neuron's formula, with its numbers. @param {playground.Unit} unit @param {playground.Frame} frame */
  describeUnit({ column, row }, frame) {
    const name = this.name({ column, row });
    if (!column) {
      const isOn = this.features.includes(this.inputs[row]);
      return `${name}: ${isOn ? "the network sees it" : "switched off"}. Press it to switch it ${isOn ? "off" : "on"}.`;
    }
    const { inputs, weights, biases } = this.parameters(frame.weights, column - 1);
    let sum = "";
    for (let from = 0; from < inputs; from++) {
      const term = `${figure(weights[row * inputs + from])}·${this.source(column - 1, from)}`;
      sum += from ? ` + ${term}` : term;
    }
    sum = `${sum} + ${figure(biases[row])}`.replaceAll("+ −", "− ");
    const activation = this.get("activation");
    const layers = this.layers;
    const isHidden = column <= layers.length;
    const before = layers.slice(0, column - 1).reduce((total, width) => total + width, 0);
    return [
      `${name} = ${isHidden && activation !== "linear" ? `${activation}(${sum})` : sum}.`,
      column > 1 ? ` Each a is what a neuron of layer ${column - 1} answers.` : "",
      isHidden && frame.silent.includes(before + row) ? " It is dead: 0 for every training point." : "",
    ].join("");
  }
}

/** @param {number} value */
const figure = (value) => (Math.abs(value) < 1e4 ? value.toFixed(2) : value.toExponential(1)).replace("-", "−");
