// @ts-check
// Playground: points in the plane, a small network that learns to tell them apart, and everything about it to change.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { bytes, floats } from "../parts/arrays.js";
import { chart, figure } from "../parts/chart.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import { LIMIT, SHAPES, clamp, colors, decode, encode, paintPlane, show as showImage, signedImage } from "../parts/plane.js";
import { Wires } from "../parts/wires.js";

export const defaults = {
  data: "circles", classes: 2, count: 200, noise: 0.05, train: 80, seed: 0, own: "", features: "x1-x2", layers: "4-2",
  activation: "tanh", start: 0, optimizer: "adam", rate: 0.03, decay: 0, batch: 16, stop: "", step: 0, speed: "normal",
};

const SIDE = 64; // pixels of the answer's picture; a neuron's has half as many
const STEPS = 1_000_000; // more than a run takes
const MOST = { layers: 6, neurons: 8, points: 800, csv: 1_000_000 };
const DATA = [
  ["circles", "Circles"], ["spirals", "Spirals"], ["xor", "XOR"], ["moons", "Moons"], ["blobs", "Blobs"],
  ["points", "My points"], ["plane", "Slope"], ["hills", "Hills"], ["values", "My values"],
];
const FEATURES = ["x1", "x2", "x1x1", "x2x2", "x1x2", "sin1", "sin2"];
const SYMBOLS = ["x₁", "x₂", "x₁²", "x₂²", "x₁x₂", "sin πx₁", "sin πx₂"];
const ACTIVATIONS = "tanh relu sigmoid leaky_relu gelu elu selu silu mish softplus softsign linear".split(" ");
const OPTIMIZERS = "adam sgd momentum adamw rmsprop nadam radam adamax adagrad adadelta lion".split(" ");
const RATES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
const DECAYS = [0, 0.0001, 0.001, 0.01, 0.1, 1];
const BATCHES = [1, 2, 4, 8, 16, 32, 64, 0];
const STOPS = ["", "epochs-100", "epochs-300", "epochs-1000", "loss-0.1", "loss-0.01", "accuracy-95", "accuracy-100"];
/** Milliseconds between frames, and steps in each: an epoch's for 0. @type {Record<string, [number, number]>} */
const SPEEDS = { slow: [200, 1], normal: [40, 0], fast: [0, STEPS] };
/** What to try: a question, the lesson that answers it, and the state. @type {[string, string, object][]} */
const TRIES = [
  ["Circles, with the squares as inputs: one neuron is enough", "neurons", { features: "x1x1-x2x2", layers: "" }],
  ["XOR without a hidden layer: can it be learned?", "the-perceptron", { data: "xor", layers: "" }],
  ["Spirals, the hard one", "any-curve", { data: "spirals", layers: "8-8", noise: 0.02 }],
  ["Three spirals at once", "any-curve", { data: "spirals", classes: 3, layers: "8-8", noise: 0.02, count: 300 }],
  ["Six layers of sigmoid: why does nothing happen?", "vanishing-gradients",
    { activation: "sigmoid", layers: "4-4-4-4-4-4", optimizer: "sgd" }],
  ["Neurons that die", "dead-neurons", { activation: "relu", layers: "8-8", optimizer: "sgd", rate: 3 }],
  ["A learning rate so large that the numbers break", "rolling-downhill",
    { data: "hills", activation: "leaky_relu", layers: "8-8", optimizer: "sgd", rate: 3 }],
  ["Few points, large network: it learns by heart", "learning-better",
    { data: "moons", count: 30, noise: 0.25, train: 50, layers: "8-8" }],
];

export default {
  /** @param {{ model: any, el: HTMLElement, signal?: AbortSignal }} context */
  render({ model, el, signal }) {
    return new Playground(model, el, signal).leave;
  },
};

/** @typedef {{ column: number, row: number }} Unit a neuron, or an input in column 0 */

class Playground {
  /** @param {any} model @param {HTMLElement} el @param {AbortSignal} [signal] */
  constructor(model, el, signal) {
    this.model = model;
    this.el = el;
    this.page = Math.floor(Math.random() * 2 ** 31); // runs of other pages are not this one's
    /** @type {any} */
    this.frame = null; // the newest, with its arrays
    /** @type {any} */
    this.scene = null;
    this.target = model.get("step");
    this.isPlaying = this.isAsked = this.isSettled = this.isChanging = false;
    this.isNew = true; // the settings, since the frame that is awaited was asked for
    this.saysWhere = false; // once the run stands still
    this.wanted = 0; // single steps
    this.message = this.mistake = this.program = "";
    this.brush = 0; // the class of new points
    this.value = 1; // or their value
    this.cursor = { x: 0, y: 0, isShown: false };
    /** @type {Unit | null} */
    this.unit = null; // the one that is described
    /** @type {Unit | null} */
    this.large = null; // the one that the large picture shows
    /** @type {any} */
    this.wire = null; // the one under the pointer
    this.tabUnit = [0, 0];
    this.timer = this.saving = 0; // of the next frame, and of the next save
    this.last = 0; // when the last frame was asked for
    /** @type {Wires | null} */
    this.wires = null;
    /** @type {Record<string, Function>} */
    const listeners = {
      "msg:custom": (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => this.told(content, buffers),
      connected: () => {
        this.isAsked = false;
        this.target = this.frame?.step ?? this.target;
        this.begin();
      },
    };
    const changed = () => this.isChanging || queueMicrotask(() => { // from outside: a notebook's model
      this.target = model.get("step");
      this.begin();
    });
    for (const key of Object.keys(defaults)) listeners[`change:${key}`] = changed;
    for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
    const observer = new ResizeObserver(() => this.paint());
    observer.observe(el);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint(), { signal });
    this.leave = () => {
      this.isPlaying = false;
      clearTimeout(this.timer);
      clearTimeout(this.saving);
      observer.disconnect();
      for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
    };
    this.show();
    this.ask();
  }

  /** @param {string} key */
  get(key) {
    return this.model.get(key);
  }

  /** @param {Record<string, string | number>} values */
  set(values) {
    this.isChanging = true;
    for (const [key, value] of Object.entries(values)) this.model.set(key, value);
    this.isChanging = false;
  }

  // What is asked and told

  /** The settings, as the Python side takes them. */
  state() {
    return Object.fromEntries(
      Object.keys(defaults).filter((key) => key !== "step" && key !== "speed").map((key) => [key, this.get(key)]),
    );
  }

  ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    this.isSettled = false;
    this.last = performance.now();
    const scene = this.isNew;
    this.isNew = false;
    this.model.send({ ask: "frame", page: this.page, state: this.state(), step: this.target, scene, play: this.isPlaying });
  }

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    if (content.tell === "frame") {
      if (content.page === this.page) this.take(content, buffers);
    } else if (content.tell === "code") this.program = content.code;
    else if (content.tell === "points") {
      this.change({ data: content.classes ? "points" : "values", own: content.own, classes: content.classes || 2 });
      this.message = content.about;
    } else if (content.error) {
      this.mistake = content.error;
      if (content.ask !== "csv") {
        this.isAsked = this.isPlaying = false;
        if (this.isNew) this.ask();
        else this.isSettled = true;
        this.frame = null;
      }
    }
    this.show();
  }

  /** @param {any} content @param {DataView[]} buffers */
  take(content, buffers) {
    this.isAsked = false;
    if (this.isNew) return this.ask(); // these settings are no longer wanted
    const [weights, answer, neurons, peaks, curve] = buffers;
    this.frame = {
      ...content, weights: floats(weights), answer: bytes(answer), neurons: bytes(neurons), peaks: floats(peaks),
      curve: floats(curve),
    };
    if (content.scene) {
      const [points, training, inputs] = buffers.slice(5);
      this.scene = { ...content.scene, points: floats(points), training: bytes(training), inputs: bytes(inputs) };
    }
    this.mistake = "";
    const end = content.fault ?? content.stopped;
    if (end) {
      this.message = end;
      this.pause();
    } else if (this.isPlaying) this.next();
    else if (content.step < this.target) this.ask();
    else this.settle();
  }

  /** Ask for the next frame of a run that plays, when it is time. */
  next() {
    const [pause, steps] = SPEEDS[this.get("speed")] ?? SPEEDS.normal;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.target = Math.min(STEPS, this.frame.step + (steps || this.frame.steps_per_epoch));
    const wait = Math.max(isStill ? 500 : pause, 0) - (performance.now() - this.last);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.isPlaying && this.ask(), Math.max(0, wait));
  }

  /** The run stands still: write where into the address. */
  settle() {
    this.target = this.frame.step;
    if (this.wanted) {
      this.wanted -= 1;
      this.target = Math.min(STEPS, this.target + 1);
      return this.ask();
    }
    this.isSettled = true;
    if (this.saysWhere) this.message = this.sentence();
    this.saysWhere = false;
    if (this.get("step") !== this.target) {
      this.set({ step: this.target });
      this.save();
    }
    this.model.send({ ask: "code", page: this.page, state: this.state(), step: this.target });
  }

  // What the person does

  play() {
    if (this.isPlaying) {
      this.saysWhere = true;
      this.pause();
    } else {
      this.message = "";
      this.isPlaying = true;
      if (this.frame) this.next();
    }
    this.show();
  }

  pause() {
    this.isPlaying = false;
    this.target = 0; // the frame that is awaited is the last
    clearTimeout(this.timer);
    if (this.frame && !this.isAsked) this.settle();
  }

  step() {
    this.message = "";
    this.wanted += 1;
    this.pause();
    this.show();
  }

  /** Go to `target` from the start. */
  begin() {
    clearTimeout(this.timer);
    this.message = "";
    this.isNew = true;
    this.ask();
    this.show();
  }

  /** Begin again from the same start. */
  restart() {
    this.target = 0;
    this.begin();
  }

  /** @param {Record<string, string | number>} changes of the settings; the run begins again */
  change(changes) {
    this.set({ ...changes, step: 0 });
    this.mistake = "";
    this.unit = this.large = this.wire = null;
    if (this.isOwn()) { // shown at once, even if they are too few to train on
      const points = decode(this.get("own"), this.areClasses());
      this.scene = { ...this.scene, points, training: new Uint8Array(points.length / 3).fill(1) };
    }
    this.save();
    this.restart();
  }

  /** Write the settings into the address, soon: browsers refuse too many changes of it. */
  save() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.model.save_changes(), 200);
  }

  isOwn(data = this.get("data")) {
    return data === "points" || data === "values";
  }

  areClasses(data = this.get("data")) {
    return !["plane", "hills", "values"].includes(data);
  }

  canCount(data = this.get("data")) {
    return ["circles", "spirals", "blobs", "points"].includes(data);
  }

  /** @param {string} data */
  chooseData(data) {
    const areClasses = this.areClasses(data);
    this.change({
      data,
      classes: this.canCount(data) ? this.get("classes") : 2,
      stop: areClasses || !this.get("stop").startsWith("accuracy") ? this.get("stop") : "",
      own: this.isOwn(data) && !this.isOwn() ? this.ownPoints(areClasses) : "",
    });
  }

  /** The points that are shown, as one's own, if they are of that kind. @param {boolean} areClasses */
  ownPoints(areClasses) {
    if (!this.scene || this.areClasses() !== areClasses) return "";
    return encode(this.scene.points.subarray(0, 3 * MOST.points), areClasses);
  }

  /** Add a point; generated points become one's own. @param {number} x @param {number} y */
  addPoint(x, y) {
    const areClasses = this.areClasses();
    const before = this.isOwn() ? this.get("own") : this.ownPoints(areClasses);
    if (before.length / (areClasses ? 7 : 9) >= MOST.points) {
      this.mistake = `There are ${MOST.points} points, and more do not fit: take some away first.`;
      return this.show();
    }
    const point = encode([x, y, areClasses ? Math.min(this.brush, this.classes() - 1) : this.value], areClasses);
    this.change({ data: areClasses ? "points" : "values", own: before + point });
  }

  removePoint() {
    if (this.isOwn()) this.change({ own: this.get("own").slice(0, this.areClasses() ? -7 : -9) });
  }

  /** @param {PointerEvent} event */
  pointer(event) {
    if (event.button) return;
    const box = /** @type {Element} */ (event.target).getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    this.cursor.isShown = false;
    this.addPoint(clamp((2 * x - 1) * LIMIT), clamp((1 - 2 * y) * LIMIT));
  }

  /** @param {KeyboardEvent} event */
  planeKey(event) {
    /** @type {Record<string, number[]>} */
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      const [x, y] = moves[event.key];
      const step = event.shiftKey ? 0.02 : 0.1;
      this.cursor = { x: clamp(this.cursor.x + x * step), y: clamp(this.cursor.y + y * step), isShown: true };
      this.paint();
    } else if (event.key === " " || event.key === "Enter") {
      this.cursor.isShown = true;
      this.addPoint(this.cursor.x, this.cursor.y);
    } else if (event.key === "Backspace" || event.key === "Delete") this.removePoint();
    else if (/^[1-4]$/.test(event.key) && Number(event.key) <= this.classes()) {
      this.brush = Number(event.key) - 1;
      this.show();
    } else return;
    event.preventDefault();
  }

  /** @param {File | undefined} file */
  async takeFile(file) {
    if (!file) return;
    if (file.size > MOST.csv) {
      this.mistake = `${file.name}: ${(file.size / 1e6).toFixed(1)} MB are too many; 1 MB at most.`;
      return this.show();
    }
    this.model.send({ ask: "csv", name: file.name }, undefined, [await file.arrayBuffer()]);
  }

  /** @param {DataTransfer | null} data what is dropped or pasted */
  takeData(data) {
    if (data?.files.length) return this.takeFile(data.files[0]);
    const text = data?.getData("text") ?? "";
    if (text) this.takeFile(new File([text], "what you pasted"));
  }

  /** @returns {number[]} the widths of the hidden layers */
  layers() {
    const widths = this.get("layers").split("-").filter(Boolean).slice(0, MOST.layers);
    return widths.map((/** @type {string} */ width) => Math.min(MOST.neurons, Number(width) || 1));
  }

  /** @returns {string[]} */
  features() {
    return this.get("features").split("-");
  }

  /** @param {number[]} widths */
  setLayers(widths) {
    this.change({ layers: widths.join("-") });
  }

  /** @param {string} name */
  toggleFeature(name) {
    const names = this.features();
    const chosen = FEATURES.filter((each) => names.includes(each) !== (each === name));
    if (chosen.length) return this.change({ features: chosen.join("-") });
    this.mistake = "The network needs one input at least.";
    this.show();
  }

  /** @param {Unit} unit */
  press(unit) {
    if (unit.column === 0) return this.toggleFeature(FEATURES[unit.row]);
    this.large = isSame(this.large, unit) ? null : unit;
    this.show();
  }

  /** Arrows move between the neurons. @param {KeyboardEvent} event */
  unitKey(event) {
    /** @type {Record<string, number[]>} */
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!(event.key in moves)) return;
    const { column, row } = /** @type {HTMLElement} */ (event.target).dataset;
    const [x, y] = moves[event.key];
    const sizes = this.sizes();
    const next = Math.min(sizes.length - 1, Math.max(0, Number(column) + x));
    const position = Math.min(sizes[next] - 1, Math.max(0, Number(row) + y));
    event.preventDefault();
    /** @type {HTMLElement | null} */ (
      this.el.querySelector(`[data-column="${next}"][data-row="${position}"]`)
    )?.focus();
  }

  /** @param {Unit | null} unit @param {any} [wire] */
  describe(unit, wire = null) {
    if (isSame(unit, this.unit) && this.wire === wire) return;
    this.unit = unit;
    this.wire = wire;
    this.show();
  }

  /** @param {PointerEvent} event */
  hover(event) {
    const element = /** @type {Element} */ (event.target).closest("[data-column]");
    const { column, row } = /** @type {HTMLElement | null} */ (element)?.dataset ?? {};
    if (column) return this.describe({ column: Number(column), row: Number(row) });
    const wire = this.wires?.at(event) ?? null;
    this.describe(wire ? null : this.unit, wire);
  }

  // What is said of it

  classes() {
    return Math.min(4, Math.max(2, Math.round(this.get("classes"))));
  }

  /** How many inputs can be chosen, and how many neurons each layer has. */
  sizes() {
    return [FEATURES.length, ...this.layers(), this.outputs()];
  }

  outputs() {
    return this.areClasses() && this.classes() > 2 ? this.classes() : 1;
  }

  /** The weights and biases of a layer, in a frame. @param {number} layer from 0 */
  parameters(layer) {
    const sizes = [this.features().length, ...this.layers(), this.outputs()];
    let start = 0;
    for (let i = 0; i < layer; i++) start += sizes[i + 1] * (sizes[i] + 1);
    const [inputs, width] = sizes.slice(layer);
    return { inputs, weights: this.frame.weights.subarray(start), biases: this.frame.weights.subarray(start + inputs * width) };
  }

  /** The name of what a wire comes from. @param {number} layer @param {number} from */
  source(layer, from) {
    if (layer) return `a${subscript(from + 1)}`;
    return SYMBOLS[FEATURES.indexOf(this.features()[from])];
  }

  /** @param {number} column @param {number} row */
  unitName(column, row) {
    if (column === 0) return `Input ${SYMBOLS[row]}`;
    if (column <= this.layers().length) return `Neuron ${row + 1} of layer ${column}`;
    if (this.outputs() > 1) return `Output of class ${row + 1}`;
    return "The output";
  }

  /** What the described neuron or wire is, in numbers. */
  description() {
    if (this.wire && this.frame) {
      const { layer, from, to } = this.wire;
      const { inputs, weights } = this.parameters(layer);
      const start = layer ? `neuron ${from + 1} of layer ${layer}` : this.source(layer, from);
      const end = this.unitName(layer + 1, to);
      return `Weight from ${start} to ${end[0].toLowerCase()}${end.slice(1)}: ${number(weights[to * inputs + from])}`;
    }
    if (!this.unit || !this.frame) return "Point at a wire or a neuron, or go to one with Tab and the arrows, to see its numbers.";
    const { column, row } = this.unit;
    const name = this.unitName(column, row);
    if (column === 0) {
      const isOn = this.features().includes(FEATURES[row]);
      return `${name}: ${isOn ? "the network sees it" : "switched off"}. Press it to switch it ${isOn ? "off" : "on"}.`;
    }
    const { inputs, weights, biases } = this.parameters(column - 1);
    const terms = Array.from({ length: inputs }, (_, from) => {
      const value = weights[row * inputs + from];
      return `${from ? (value < 0 ? "− " : "+ ") : value < 0 ? "−" : ""}${number(Math.abs(value))}·${this.source(column - 1, from)}`;
    });
    const bias = biases[row];
    const sum = `${terms.join(" ")} ${bias < 0 ? "−" : "+"} ${number(Math.abs(bias))}`;
    const layers = this.layers();
    const from = column > 1 ? ` Each a is what a neuron of layer ${column - 1} answers.` : "";
    if (column > layers.length) return `${name} = ${sum}.${from}`;
    const first = layers.slice(0, column - 1).reduce((total, width) => total + width, 0);
    const dead = this.frame.silent.includes(first + row) ? " It is dead: 0 for every training point." : "";
    const activation = this.get("activation");
    return `${name} = ${activation === "linear" ? sum : `${activation}(${sum})`}.${from}${dead}`;
  }

  sentence() {
    if (!this.frame) return "";
    const { epoch, train_loss: loss, train_accuracy: accuracy } = this.frame;
    const right = accuracy === null ? "" : `, ${percent(accuracy)} of the training points are right`;
    return `Epoch ${epoch}: the training loss is ${loss4(loss)}${right}.`;
  }

  // What is shown

  show() {
    put(this.template(), this.el);
    this.el.toggleAttribute("data-is-settled", this.isSettled);
    this.paint();
  }

  paint() {
    const { frame, scene, el } = this;
    const find = (/** @type {string} */ selector) => /** @type {HTMLCanvasElement} */ (el.querySelector(selector));
    const small = (/** @type {number} */ column, /** @type {number} */ row, /** @type {Uint8Array} */ values, i = row) => {
      const picture = signedImage(values.subarray(i * size, (i + 1) * size), SIDE / 2);
      showImage(find(`[data-column="${column}"][data-row="${row}"] canvas`), picture);
      return picture;
    };
    this.wires ??= new Wires(find(".net"), find(".wires"));
    const layers = [...this.layers(), this.outputs()];
    const size = (SIDE / 2) ** 2;
    const fits = frame && frame.neurons.length === size * layers.reduce((sum, width) => sum + width, 0);
    /** @type {ImageData | null} */
    let image = frame && fits ? colors(frame.answer, SIDE) : null;
    let position = 0;
    if (fits) {
      layers.forEach((width, layer) => {
        for (let row = 0; row < width; row++, position++) {
          const picture = small(layer + 1, row, frame.neurons, position);
          if (isSame(this.large, { column: layer + 1, row })) image = picture;
        }
      });
      const chosen = this.unit;
      const parameters = layers.map((_, layer) => this.parameters(layer));
      this.wires.paint(
        ({ layer, from, to }) => parameters[layer].weights[to * parameters[layer].inputs + from],
        (wire) => wire === this.wire || (!this.wire && chosen?.column === wire.layer + 1 && chosen.row === wire.to),
      );
    }
    if (!scene?.inputs) return;
    FEATURES.forEach((_, row) => small(0, row, scene.inputs));
    const cursor = this.cursor.isShown ? this.cursor : null;
    const { points, training } = scene;
    paintPlane(find(".plane"), { image, points, training, areClasses: this.areClasses(), cursor });
    find(".curves").hidden = !frame;
    if (!frame) return;
    const [x, train, validation] = [0, 1, 2].map((k) => frame.curve.filter((/** @type {number} */ _, /** @type {number} */ i) => i % 3 === k));
    const lines = [{ name: "training", x, y: train, dashed: false }, { name: "validation", x, y: validation, dashed: true }];
    chart(find(".curves"), { lines: lines.slice(0, frame.validation_loss === null ? 1 : 2), x: "epoch", y: "Loss", low: 0 });
  }

  /** @param {string} key @param {any[]} values @param {string} label @param {(value: any) => string} [text] */
  select(key, values, label, text = String) {
    const now = this.get(key);
    const all = values.includes(now) ? values : [...values, now];
    return html`<label>${label}
      <select @change=${on((e) => this.change({ [key]: all[e.target.selectedIndex] }))}>
        ${all.map((value) => html`<option .selected=${value === now}>${text(value)}</option>`)}
      </select></label>`;
  }

  /** @param {string} key @param {string} label @param {number} low @param {number} high @param {number} step */
  range(key, label, low, high, step, unit = "") {
    const now = this.get(key);
    return html`<label>${label} <output>${figure(now)}${unit}</output>
      <input type="range" min=${low} max=${high} step=${step} .value=${String(now)}
        @input=${on((e) => this.change({ [key]: Number(e.target.value) }))}></label>`;
  }

  /** @param {string} key @param {string} label */
  seed(key, label) {
    return html`<label>${label}
      <input type="number" min="0" max="2147483648" .value=${String(this.get(key))}
        @change=${on((e) => this.change({ [key]: Math.max(0, Math.floor(e.target.value) || 0) }))}></label>`;
  }

  template() {
    const { frame } = this;
    const data = this.get("data");
    const isOwn = this.isOwn();
    const areClasses = this.areClasses();
    const trouble = this.mistake || frame?.fault;
    return html`
      <h2>Teach a small network</h2>
      <p class="lead">Press Play, and the network changes its wires until the colors fit the points. Then change anything: it begins
        again from the same start.</p>
      <div class="bar">
        <button class="main" @click=${() => this.play()}>${this.isPlaying ? "❚❚ Pause" : "▶ Play"}</button>
        <button @click=${() => this.step()}>One step</button>
        <button @click=${() => { this.pause(); this.restart(); }}>Same start again</button>
        <button @click=${() => this.change({ start: this.get("start") + 1 })}>Another start</button>
      </div>
      <div class="bar now">
        <p class="count"><strong>Epoch ${(frame?.epoch ?? 0).toLocaleString("en")}</strong>
          <span class="quiet">step ${(frame?.step ?? 0).toLocaleString("en")}</span></p>
        <p class=${trouble ? "message trouble" : "message"} role="status">${this.mistake || this.message}</p>
      </div>
      <div class="stage">
        <section class="left" aria-labelledby="plane-title">
          <h2 id="plane-title">${this.large ? `What ${this.unitName(this.large.column, this.large.row).toLowerCase()} answers` : "The points, and what the network says"}</h2>
          <canvas class="plane" tabindex="0" role="application" aria-label=${this.planeLabel()} aria-describedby="plane-keys"
            @pointerdown=${on((e) => this.pointer(e))}
            @keydown=${on((e) => this.planeKey(e))}
            @dragover=${on((e) => e.preventDefault())}
            @drop=${on((e) => { e.preventDefault(); this.takeData(e.dataTransfer); })}
            @paste=${on((e) => this.takeData(e.clipboardData))}></canvas>
          <div class="brushes" role="group" aria-label="New points">
            <span>Click to add:</span>
            ${areClasses
              ? Array.from({ length: this.classes() }, (_, k) => html`
                <button class=${`class${k}`} aria-pressed=${this.brush === k} aria-label=${`Class ${k + 1}`}
                  @click=${() => { this.brush = k; this.show(); }}>${SHAPES[k]} ${k + 1}</button>`)
              : html`<label>value <output>${this.value}</output> <input type="range" min="-1" max="1" step="0.1" .value=${String(this.value)}
                  @input=${on((e) => { this.value = Number(e.target.value); this.show(); })}></label>`}
            ${isOwn ? html`<button @click=${() => this.removePoint()} ?disabled=${!this.get("own")}>Undo</button>
              <button @click=${() => this.change({ own: "" })} ?disabled=${!this.get("own")}>Clear</button>` : nothing}
            <label class="file">A CSV file<input type="file" accept=".csv,.tsv,.txt,text/csv"
              @change=${on((e) => { this.takeFile(e.target.files[0]); e.target.value = ""; })}></label>
          </div>
          <div class="kinds" role="group" aria-label="Data">
            ${DATA.map(([name, title]) => html`<button aria-pressed=${name === data} @click=${() => this.chooseData(name)}>${title}</button>`)}
          </div>
          <p id="plane-keys" class="quiet">Filled points are for training, rings for validation. By keyboard: arrows move (Shift: a little),
            Space sets a point, 1 to 4 choose its class, Backspace takes one away. A CSV file can be dropped or pasted here.</p>
        </section>
        <section class="right" aria-labelledby="net-title">
          <h2 id="net-title">The network ${explain("Each neuron adds up its inputs times its weights, plus a bias, and bends the sum. Orange solid wires add, blue dashed ones subtract; wide ones count more.", "neurons", "the network")}</h2>
          <div class="bar">
            <span>${this.layers().length} hidden layer${this.layers().length === 1 ? "" : "s"}</span>
            <button aria-label="Remove the last layer" ?disabled=${!this.layers().length} @click=${() => this.setLayers(this.layers().slice(0, -1))}>−</button>
            <button aria-label="Add a layer" ?disabled=${this.layers().length >= MOST.layers} @click=${() => this.setLayers([...this.layers(), this.layers().at(-1) ?? 4])}>+</button>
            ${this.select("activation", ACTIVATIONS, "Activation")}
          </div>
          ${this.diagram()}
          <p class="formula" id="formula">${this.description()}</p>
        </section>
      </div>
      <div class="columns">
        <section aria-labelledby="learn-title">
          <h2 id="learn-title">How well it does ${explain("The loss says how wrong the network is; training makes it smaller. Validation points are never trained on, so they show whether it understood or learned by heart.", "learning-better", "the numbers")}</h2>
          <table class="numbers">
            <thead><tr><td></td><th scope="col">Training (line)</th><th scope="col">Validation (dashes)</th></tr></thead>
            <tbody>
              <tr><th scope="row">Loss</th><td>${loss4(frame?.train_loss)}</td><td>${loss4(frame?.validation_loss)}</td></tr>
              ${areClasses ? html`<tr><th scope="row">Accuracy</th><td>${percent(frame?.train_accuracy)}</td><td>${percent(frame?.validation_accuracy)}</td></tr>` : nothing}
            </tbody>
          </table>
          <canvas class="curves"></canvas>
        </section>
        <section aria-labelledby="set-title">
          <h2 id="set-title">Change</h2>
          <div class="settings">
            <label>Speed <select @change=${on((e) => this.setSpeed(e.target.value))}>
              ${Object.keys(SPEEDS).map((name) => html`<option .selected=${name === this.get("speed")}>${name}</option>`)}
            </select></label>
            ${this.select("stop", STOPS.filter((stop) => areClasses || !stop.startsWith("a")), "Stop", stopText)}
            ${isOwn ? nothing : this.range("count", "Points", 10, 1000, 10)}
            ${isOwn ? nothing : this.range("noise", "Noise", 0, 0.5, 0.01)}
            ${this.range("train", "For training", 10, 100, 5, "%")}
            ${this.canCount() ? this.select("classes", [2, 3, 4], "Classes") : nothing}
            ${this.select("rate", RATES, "Learning rate")}
            ${this.select("optimizer", OPTIMIZERS, "Optimizer")}
            ${this.select("batch", BATCHES, "Batch size", (value) => (value ? String(value) : "all"))}
            ${this.select("decay", DECAYS, "Weight decay")}
            ${this.seed("seed", "Seed of the data")}
            ${this.seed("start", "Seed of the start")}
          </div>
        </section>
      </div>
      <section aria-labelledby="try-title">
        <h2 id="try-title">Try this</h2>
        <ul class="tries">
          ${TRIES.map(([title, lesson, state]) => html`<li>
            <button @click=${() => this.tryThis(state)}>${title}</button> ${explain("Press it, then Play, and watch. A lesson tells why it happens.", lesson, title)}</li>`)}
        </ul>
        ${this.program && !this.isPlaying ? code(this.program) : nothing}
      </section>`;
  }

  /** @param {string} speed */
  setSpeed(speed) {
    this.set({ speed });
    this.save();
    this.show();
  }

  /** @param {object} state */
  tryThis(state) {
    this.change({ ...defaults, speed: this.get("speed"), ...state });
  }

  planeLabel() {
    if (!this.scene?.count) return "The plane";
    return `${this.scene.count} points, ${this.scene.train} of them for training. ${this.isPlaying ? "" : this.sentence()}`;
  }

  diagram() {
    const layers = this.layers();
    const features = this.features();
    if (!(this.tabUnit[1] < this.sizes()[this.tabUnit[0]])) this.tabUnit = [0, 0]; // that neuron is no longer there
    const [tabColumn, tabRow] = this.tabUnit;
    const unit = (/** @type {number} */ column, /** @type {number} */ row, /** @type {any} */ label = nothing, isOn = true) => {
      const isPressed = column ? isSame(this.large, { column, row }) : isOn;
      return html`<button class="unit" data-column=${column} data-row=${row} ?data-live=${isOn}
        tabindex=${tabColumn === column && tabRow === row ? 0 : -1} aria-label=${this.unitName(column, row)}
        aria-pressed=${isPressed} aria-describedby="formula"
        @click=${() => this.press({ column, row })}
        @focus=${() => { this.tabUnit = [column, row]; this.describe({ column, row }); }}
        @keydown=${on((e) => this.unitKey(e))}><canvas width="32" height="32"></canvas>${label}</button>`;
    };
    const rows = (/** @type {number} */ count) => Array.from({ length: count }, (_, row) => row);
    return html`<div class="scroll"><div class="net" role="group" aria-label="Inputs and neurons" aria-describedby="unit-text" @pointermove=${on((e) => this.hover(e))}
        @pointerdown=${on((e) => this.hover(e))}>
      <canvas class="wires" aria-hidden="true"></canvas>
      <div class="column inputs"><span class="head">Inputs</span>
        ${FEATURES.map((name, row) => unit(0, row, html`<span>${SYMBOLS[row]}</span>`, features.includes(name)))}</div>
      ${layers.map((width, index) => html`<div class="column">
        <span class="head">Layer ${index + 1}</span>
        <span class="resize">
          <button aria-label=${`One neuron less in layer ${index + 1}`} ?disabled=${width <= 1}
            @click=${() => this.setLayers(layers.with(index, width - 1))}>−</button>
          <button aria-label=${`One neuron more in layer ${index + 1}`} ?disabled=${width >= MOST.neurons}
            @click=${() => this.setLayers(layers.with(index, width + 1))}>+</button>
        </span>
        ${rows(width).map((row) => unit(index + 1, row))}</div>`)}
      <div class="column"><span class="head">Output</span>
        ${rows(this.outputs()).map((row) => unit(layers.length + 1, row))}</div>
    </div></div>
    <p id="unit-text" class="spoken">Arrows move between inputs and neurons. Enter switches an input, or shows a neuron's answer large.</p>`;
  }
}

/** @param {Unit | null} one @param {Unit | null} other */
const isSame = (one, other) => one?.column === other?.column && one?.row === other?.row;

/** A listener. @param {(event: any) => void} listener */
const on = (listener) => listener;

/** @param {number | null | undefined} value */
const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)}%`);

/** @param {number | null | undefined} value */
const loss4 = (value) => (value == null ? "–" : value < 1e5 ? value.toFixed(4) : value.toExponential(2));

/** @param {number} value */
const number = (value) => (Math.abs(value) < 1e4 ? value.toFixed(2) : value.toExponential(1)).replace("-", "−");

/** @param {number} value */
const subscript = (value) => String(value).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[Number(digit)]);

/** @param {string} stop */
function stopText(stop) {
  const [kind, value] = stop.split("-");
  if (kind === "epochs") return `after ${Number(value).toLocaleString("en")} epochs`;
  if (kind === "loss") return `at a loss of ${value}`;
  return kind === "accuracy" ? `at ${value}% right` : "by hand";
}
