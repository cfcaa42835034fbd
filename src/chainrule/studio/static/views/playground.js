// @ts-check
// Playground: points in the plane, a small network that learns to tell them apart, and everything about it to change.

import { bytes, column, floats } from "../parts/arrays.js";
import { chart } from "../parts/chart.js";
import { ARROWS, isModified } from "../parts/keys.js";
import { clamp as between, percent } from "../parts/numbers.js";
import { signed } from "../parts/pictures.js";
import { html } from "../parts/template.js";
import { View, module } from "../parts/view.js";
import { MOST, SPEEDS, STEPS, areClasses, canCount, defaults, isOwn } from "./playground_choices.js";
import { Network } from "./playground_network.js";
import { loss, page } from "./playground_page.js";
import { LIMIT, clamp, decode, encode, paintPlane, picture } from "./playground_plane.js";
import { Wires } from "./playground_wires.js";

export { defaults };

const SIDE = 64; // pixels of the answer's picture; a neuron's has half as many
const ADDRESS_AFTER = 200; // milliseconds until the settings are in the address: browsers refuse too many changes of it

/** @typedef {playground.Unit} Unit */

export class Playground extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    /** @type {playground.Choices | null} */
    this.choices = null;
    this.network = new Network((key) => this.get(key));
    this.page = Math.floor(Math.random() * 2 ** 31); // runs of other pages are not this one's
    /** @type {playground.Frame | null} */
    this.frame = null; // the newest
    /** @type {playground.Scene | null} */
    this.scene = null;
    this.target = this.get("step");
    this.isPlaying = this.isAsked = this.hasSettled = this.isChanging = false;
    this.isNew = true; // the settings, since the frame that is awaited was asked for
    this.saysWhere = false; // once the run stands still
    this.wanted = 0; // single steps
    this.message = this.program = "";
    this.brush = 0; // the class of new points
    this.value = 1; // or their value
    this.cursor = { x: 0, y: 0, isShown: false };
    /** @type {Unit | null} */
    this.unit = null; // the one that is described
    /** @type {playground.Wire | null} */
    this.wire = null; // the one under the pointer
    /** @type {Unit} */
    this.tabStop = { column: 0, row: 0 };
    this.last = 0; // when the last frame was asked for
    /** @type {Wires | null} */
    this.wires = null;
    const fail = (/** @type {any} */ content) => this.fail(content);
    this.listen({
      choices: (choices) => {
        this.choices = choices;
        this.network.symbols = choices.features;
      },
      frame: (content, buffers) => content.page === this.page && this.take(content, buffers),
      code: ({ code }) => (this.program = code),
      points: ({ classes, own, about }) => {
        this.change({ data: classes ? "points" : "values", own, classes: classes || 2 });
        this.message = about;
      },
      mistake: fail, error: fail,
    }, () => {
      this.isAsked = false;
      this.target = this.frame?.step ?? this.target;
      this.begin();
    });
    const changed = () => this.isChanging || queueMicrotask(() => { // from outside: a notebook's model
      this.target = this.get("step");
      this.begin();
    });
    for (const key of Object.keys(defaults)) {
      this.model.on(`change:${key}`, key === "large" ? () => this.isChanging || this.show() : changed);
    }
    const observer = new ResizeObserver(() => this.paint());
    observer.observe(this.el);
    this.signal.addEventListener("abort", () => observer.disconnect());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint(), { signal: this.signal });
    this.send("choices");
    this.ask();
    this.show();
  }

  /** @param {Record<string, Value>} values */
  set(values) {
    this.isChanging = true;
    for (const [key, value] of Object.entries(values)) this.model.set(key, value);
    this.isChanging = false;
    this.later("save", ADDRESS_AFTER, () => this.update({}));
  }

  // What is asked and told

  /** The settings, as the Python side takes them. */
  state() {
    const { step, speed, large, ...settings } = defaults;
    return Object.fromEntries(Object.keys(settings).map((key) => [key, this.get(key)]));
  }

  ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    this.hasSettled = false;
    this.last = performance.now();
    this.send("frame", { page: this.page, state: this.state(), step: this.target, scene: this.isNew, play: this.isPlaying });
    this.isNew = false;
  }

  /** @param {any} content */
  fail({ ask, error }) {
    this.error = error;
    if (ask === "csv") return;
    this.isAsked = this.isPlaying = false;
    if (this.isNew) this.ask();
    else this.hasSettled = true;
    this.frame = null;
  }

  /** @param {any} content @param {DataView[]} buffers */
  take(content, [weights, answer, neurons, , curve, points, training, inputs]) {
    this.isAsked = false;
    if (this.isNew) return this.ask(); // these settings are no longer wanted
    this.frame = { ...content, weights: floats(weights), answer: bytes(answer), neurons: centered(neurons), curve: floats(curve) };
    if (content.scene) {
      this.scene = { ...content.scene, points: floats(points), training: bytes(training), inputs: centered(inputs) };
    }
    this.error = "";
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
    const { step, steps_per_epoch: epoch } = /** @type {playground.Frame} */ (this.frame);
    const [pause, steps] = SPEEDS[this.get("speed")] ?? SPEEDS.normal;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.target = Math.min(STEPS, step + (steps || epoch));
    this.later("next", Math.max(0, (isStill ? 500 : pause) - (performance.now() - this.last)), () => this.isPlaying && this.ask());
  }

  /** The run stands still: write where into the address. */
  settle() {
    this.target = this.frame?.step ?? 0;
    if (this.wanted) {
      this.wanted -= 1;
      this.target = Math.min(STEPS, this.target + 1);
      return this.ask();
    }
    this.hasSettled = true;
    if (this.saysWhere) this.message = this.sentence();
    this.saysWhere = false;
    if (this.get("step") !== this.target) this.set({ step: this.target });
    this.send("code", { page: this.page, state: this.state(), step: this.target });
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
    this.cancel("next");
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
    this.cancel("next");
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

  /** @param {Record<string, Value>} changes of the settings; the run begins again */
  change(changes) {
    this.set({ ...changes, step: 0 });
    this.error = "";
    this.unit = this.wire = null;
    const data = this.get("data");
    if (isOwn(data)) { // shown at once, even if they are too few to train on
      const points = decode(this.get("own"), areClasses(data));
      this.scene = { ...this.scene, points, training: new Uint8Array(points.length / 3).fill(1) };
    }
    this.restart();
  }

  /** @param {string} data */
  chooseData(data) {
    const stop = this.get("stop");
    this.change({
      data,
      classes: canCount(data) ? this.get("classes") : 2,
      stop: areClasses(data) || !stop.startsWith("accuracy") ? stop : "",
      own: isOwn(data) && !isOwn(this.get("data")) ? this.ownPoints(areClasses(data)) : "",
    });
  }

  /** The points that are shown, as one's own, if they are of that kind. @param {boolean} classified */
  ownPoints(classified) {
    if (!this.scene || areClasses(this.get("data")) !== classified) return "";
    return encode(this.scene.points.subarray(0, 3 * MOST.points), classified);
  }

  /** Add a point; generated points become one's own. @param {number} x @param {number} y */
  addPoint(x, y) {
    const classified = areClasses(this.get("data"));
    const before = isOwn(this.get("data")) ? this.get("own") : this.ownPoints(classified);
    if (before.length / (classified ? 7 : 9) >= MOST.points) {
      return this.refuse(`There are ${MOST.points} points, and more do not fit: take some away first.`);
    }
    const point = encode([x, y, classified ? Math.min(this.brush, this.network.classes - 1) : this.value], classified);
    this.change({ data: classified ? "points" : "values", own: before + point });
  }

  /** @param {string} sentence */
  refuse(sentence) {
    this.error = sentence;
    this.show();
  }

  removePoint() {
    const data = this.get("data");
    if (isOwn(data)) this.change({ own: this.get("own").slice(0, areClasses(data) ? -7 : -9) });
  }

  /** Set a point: at a click, not when a finger that scrolls comes down. @param {MouseEvent} event */
  click(event) {
    const box = /** @type {Element} */ (event.target).getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    this.cursor.isShown = false;
    this.addPoint(clamp((2 * x - 1) * LIMIT), clamp((1 - 2 * y) * LIMIT));
  }

  /** @param {KeyboardEvent} event */
  planeKey(event) {
    if (isModified(event)) return;
    if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key];
      const step = event.shiftKey ? 0.02 : 0.1;
      this.cursor = { x: clamp(this.cursor.x + x * step), y: clamp(this.cursor.y - y * step), isShown: true };
      this.paint();
    } else if (event.key === " " || event.key === "Enter") {
      this.cursor.isShown = true;
      this.addPoint(this.cursor.x, this.cursor.y);
    } else if (event.key === "Backspace" || event.key === "Delete") this.removePoint();
    else if (/^[1-4]$/.test(event.key) && Number(event.key) <= this.network.classes) this.choose(Number(event.key) - 1);
    else return;
    event.preventDefault();
  }

  /** @param {number} target the class of new points, or their value */
  choose(target) {
    if (areClasses(this.get("data"))) this.brush = target;
    else this.value = target;
    this.show();
  }

  /** @param {File | undefined} file */
  async takeFile(file) {
    if (!file) return;
    if (file.size > MOST.csv) return this.refuse(`${file.name}: ${(file.size / 1e6).toFixed(1)} MB are too many; 1 MB at most.`);
    this.send("csv", { name: file.name }, [await file.arrayBuffer()]);
  }

  /** @param {number[]} widths */
  setLayers(widths) {
    this.change({ layers: widths.join("-") });
  }

  /** @param {string} name */
  toggleFeature(name) {
    const names = this.network.features;
    const chosen = this.network.inputs.filter((each) => names.includes(each) !== (each === name));
    if (chosen.length) this.change({ features: chosen.join("-") });
    else this.refuse("The network needs one input at least.");
  }

  /** @param {Unit} unit */
  press(unit) {
    if (unit.column === 0) return this.toggleFeature(this.network.inputs[unit.row]);
    this.set({ large: this.isLarge(unit) ? "" : `${unit.column}.${unit.row}` });
    this.show();
  }

  /** Arrows move between inputs and neurons. @param {KeyboardEvent} event @param {Unit} unit */
  unitKey(event, unit) {
    if (!(event.key in ARROWS)) return;
    const [x, y] = ARROWS[event.key];
    const { columns } = this.network;
    const column = between(unit.column + x, 0, columns.length - 1);
    const row = between(unit.row + y, 0, columns[column] - 1);
    event.preventDefault();
    this.find(`[data-column="${column}"][data-row="${row}"]`).focus();
  }

  /** @param {Unit} unit */
  focus(unit) {
    this.tabStop = unit;
    this.describe(unit);
  }

  /** @param {Unit} unit */
  isTabStop(unit) {
    const { column, row } = this.tabStop;
    const isThere = row < this.network.columns[column];
    return isSame(unit, isThere ? this.tabStop : { column: 0, row: 0 });
  }

  /** The neuron whose answer the large picture shows; null for the network's. @returns {Unit | null} */
  get large() {
    const [, column, row] = (/^(\d+)\.(\d+)$/.exec(this.get("large")) ?? []).map(Number);
    return column > 0 && row < (this.network.columns[column] ?? 0) ? { column, row } : null;
  }

  /** @param {Unit} unit */
  isLarge(unit) {
    return isSame(unit, this.large);
  }

  /** @param {Unit | null} unit @param {playground.Wire | null} [wire] */
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

  description() {
    if (this.frame && this.wire) return this.network.describeWire(this.wire, this.frame);
    const unit = this.unit ?? this.large;
    if (this.frame && unit) return this.network.describeUnit(unit, this.frame);
    return "Point at a wire or a neuron, or tap it, to see its numbers.";
  }

  sentence() {
    if (!this.frame) return "";
    const { epoch, train_accuracy: accuracy, train_loss } = this.frame;
    const right = accuracy === null ? "" : `, ${percent(accuracy)} of the training points are right`;
    return `Epoch ${epoch}: the training loss is ${loss(train_loss)}${right}.`;
  }

  // What is shown

  /** @returns {object} */
  template() {
    return this.choices ? page(this, this.choices) : html`<p role="status">Looking what there is…</p>`;
  }

  isSettled() {
    return this.hasSettled;
  }

  /** @param {string} selector */
  find(selector) {
    return /** @type {HTMLCanvasElement} */ (this.canvas(selector));
  }

  paint() {
    const { frame, scene } = this;
    if (!this.choices) return;
    const size = (SIDE / 2) ** 2;
    const small = (/** @type {number} */ column, /** @type {number} */ row, /** @type {Int8Array} */ values, i = row) =>
      signed(this.unitCanvas({ column, row }), values.subarray(i * size, (i + 1) * size), SIDE / 2, SIDE / 2, 127);
    this.wires ??= new Wires(this.find(".net"), this.find(".wires"));
    const layers = this.network.columns.slice(1);
    const fits = frame && frame.neurons.length === size * layers.reduce((sum, width) => sum + width, 0);
    if (fits) {
      let position = 0;
      layers.forEach((width, layer) => {
        for (let row = 0; row < width; row++) small(layer + 1, row, frame.neurons, position++);
      });
      const chosen = this.unit ?? this.large;
      const parameters = layers.map((_, layer) => this.network.parameters(frame.weights, layer));
      this.wires.paint(
        ({ layer, from, to }) => parameters[layer].weights[to * parameters[layer].inputs + from],
        (wire) => wire === this.wire || (!this.wire && chosen?.column === wire.layer + 1 && chosen.row === wire.to),
      );
    }
    const { inputs } = scene ?? {};
    if (!scene || !inputs) return;
    this.network.inputs.forEach((_, row) => small(0, row, inputs));
    const behind = !fits ? null : this.large ? this.unitCanvas(this.large) : picture(frame.answer, SIDE);
    paintPlane(this.find(".plane"), behind, scene, areClasses(this.get("data")), this.cursor.isShown ? this.cursor : null);
    const curves = this.find(".curves");
    curves.hidden = !frame;
    if (!frame) return;
    const [x, train, validation] = [0, 1, 2].map((j) => column(frame.curve, j, 3));
    const lines = [{ name: "training", x, y: train, dashed: false }, { name: "validation", x, y: validation, dashed: true }];
    chart(curves, { lines: lines.slice(0, frame.validation_loss === null ? 1 : 2), x: "epoch", y: "Loss", low: 0 });
  }

  /** @param {Unit} unit */
  unitCanvas({ column, row }) {
    return this.find(`[data-column="${column}"][data-row="${row}"] canvas`);
  }

  /** @param {string} speed */
  setSpeed(speed) {
    this.set({ speed });
    this.show();
  }

  /** @param {object} state */
  tryThis(state) {
    this.change({ ...defaults, speed: this.get("speed"), ...state });
  }
}

/** @param {Unit | null} one @param {Unit | null} other */
const isSame = (one, other) => one?.column === other?.column && one?.row === other?.row;

/** Bytes of which 128 is 0. @param {DataView} view */
const centered = (view) => Int8Array.from(bytes(view), (value) => value - 128);

export default module(Playground);
