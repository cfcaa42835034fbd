// @ts-check
// Playground: points in the plane, a small network that learns to tell them apart, and everything about it to change.

import { render as put } from "../vendor/lit-html.js";
import { bytes, floats } from "../parts/arrays.js";
import { chart } from "../parts/chart.js";
import { FEATURES, MOST, SPEEDS, STEPS, areClasses, canCount, defaults, isOwn } from "./playground_choices.js";
import { Network } from "./playground_network.js";
import { loss, page, percent } from "./playground_page.js";
import { LIMIT, clamp, colors, decode, encode, paintPlane, show as showImage, signedImage } from "./playground_plane.js";
import { Wires } from "./playground_wires.js";

export { defaults };

const SIDE = 64; // pixels of the answer's picture; a neuron's has half as many
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @typedef {import("./playground_network.js").Unit} Unit */

export default {
  /** @param {{ model: any, el: HTMLElement, signal?: AbortSignal }} context */
  render({ model, el, signal }) {
    return new Playground(model, el, signal).leave;
  },
};

export class Playground {
  /** @param {any} model @param {HTMLElement} el @param {AbortSignal} [signal] */
  constructor(model, el, signal) {
    this.model = model;
    this.el = el;
    this.get = (/** @type {string} */ key) => model.get(key);
    this.network = new Network(this.get);
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
    /** @type {any} */
    this.wire = null; // the one under the pointer
    /** @type {Unit} */
    this.tabStop = { column: 0, row: 0 };
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
    listeners["change:large"] = () => this.isChanging || this.show();
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

  /** @param {Record<string, string | number>} values */
  set(values) {
    this.isChanging = true;
    for (const [key, value] of Object.entries(values)) this.model.set(key, value);
    this.isChanging = false;
  }

  // What is asked and told

  /** The settings, as the Python side takes them. */
  state() {
    const others = ["step", "speed", "large"];
    return Object.fromEntries(Object.keys(defaults).filter((key) => !others.includes(key)).map((key) => [key, this.get(key)]));
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
    this.set({ ...changes, step: 0, large: "" });
    this.mistake = "";
    this.unit = this.wire = null;
    const data = this.get("data");
    if (isOwn(data)) { // shown at once, even if they are too few to train on
      const points = decode(this.get("own"), areClasses(data));
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
      this.mistake = `There are ${MOST.points} points, and more do not fit: take some away first.`;
      return this.show();
    }
    const point = encode([x, y, classified ? Math.min(this.brush, this.network.classes - 1) : this.value], classified);
    this.change({ data: classified ? "points" : "values", own: before + point });
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
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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

  /** @param {number[]} widths */
  setLayers(widths) {
    this.change({ layers: widths.join("-") });
  }

  /** @param {string} name */
  toggleFeature(name) {
    const names = this.network.features;
    const chosen = FEATURES.filter((each) => names.includes(each) !== (each === name));
    if (chosen.length) return this.change({ features: chosen.join("-") });
    this.mistake = "The network needs one input at least.";
    this.show();
  }

  /** @param {Unit} unit */
  press(unit) {
    if (unit.column === 0) return this.toggleFeature(FEATURES[unit.row]);
    this.set({ large: this.isLarge(unit) ? "" : `${unit.column}.${unit.row}` });
    this.save();
    this.show();
  }

  /** Arrows move between inputs and neurons. @param {KeyboardEvent} event @param {Unit} unit */
  unitKey(event, unit) {
    if (!(event.key in ARROWS)) return;
    const [x, y] = ARROWS[event.key];
    const { columns } = this.network;
    const column = Math.min(columns.length - 1, Math.max(0, unit.column + x));
    const row = Math.min(columns[column] - 1, Math.max(0, unit.row + y));
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

  description() {
    if (this.frame && this.wire) return this.network.describeWire(this.wire, this.frame);
    const unit = this.unit ?? this.large;
    if (this.frame && unit) return this.network.describeUnit(unit, this.frame);
    return "Point at a wire or a neuron, or tap it, to see its numbers.";
  }

  sentence() {
    if (!this.frame) return "";
    const { epoch, train_accuracy: accuracy } = this.frame;
    const right = accuracy === null ? "" : `, ${percent(accuracy)} of the training points are right`;
    return `Epoch ${epoch}: the training loss is ${loss(this.frame.train_loss)}${right}.`;
  }

  // What is shown

  show() {
    put(page(this), this.el);
    this.el.toggleAttribute("data-is-settled", this.isSettled);
    this.paint();
  }

  /** @param {string} selector */
  find(selector) {
    return /** @type {HTMLCanvasElement} */ (this.el.querySelector(selector));
  }

  paint() {
    const { frame, scene } = this;
    const small = (/** @type {number} */ column, /** @type {number} */ row, /** @type {Uint8Array} */ values, i = row) => {
      const picture = signedImage(values.subarray(i * size, (i + 1) * size), SIDE / 2);
      showImage(this.find(`[data-column="${column}"][data-row="${row}"] canvas`), picture);
      return picture;
    };
    this.wires ??= new Wires(this.find(".net"), this.find(".wires"));
    const layers = this.network.columns.slice(1);
    const size = (SIDE / 2) ** 2;
    const fits = frame && frame.neurons.length === size * layers.reduce((sum, width) => sum + width, 0);
    /** @type {ImageData | null} */
    let image = frame && fits ? colors(frame.answer, SIDE) : null;
    let position = 0;
    if (fits) {
      layers.forEach((width, layer) => {
        for (let row = 0; row < width; row++, position++) {
          const picture = small(layer + 1, row, frame.neurons, position);
          if (this.isLarge({ column: layer + 1, row })) image = picture;
        }
      });
      const chosen = this.unit ?? this.large;
      const parameters = layers.map((_, layer) => this.network.parameters(frame.weights, layer));
      this.wires.paint(
        ({ layer, from, to }) => parameters[layer].weights[to * parameters[layer].inputs + from],
        (wire) => wire === this.wire || (!this.wire && chosen?.column === wire.layer + 1 && chosen.row === wire.to),
      );
    }
    if (!scene?.inputs) return;
    FEATURES.forEach((_, row) => small(0, row, scene.inputs));
    const cursor = this.cursor.isShown ? this.cursor : null;
    const { points, training } = scene;
    paintPlane(this.find(".plane"), { image, points, training, areClasses: areClasses(this.get("data")), cursor });
    const curves = this.find(".curves");
    curves.hidden = !frame;
    if (!frame) return;
    const [x, train, validation] = [0, 1, 2].map((k) => frame.curve.filter((/** @type {number} */ _, /** @type {number} */ i) => i % 3 === k));
    const lines = [{ name: "training", x, y: train, dashed: false }, { name: "validation", x, y: validation, dashed: true }];
    chart(curves, { lines: lines.slice(0, frame.validation_loss === null ? 1 : 2), x: "epoch", y: "Loss", low: 0 });
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
}

/** @param {Unit | null} one @param {Unit | null} other */
const isSame = (one, other) => one?.column === other?.column && one?.row === other?.row;
