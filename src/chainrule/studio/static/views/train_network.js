// @ts-check
// Train: what is seen of the network: curves, bars, gradients, dead neurons, histograms.

import { bytes, column, floats, integers } from "../parts/arrays.js";
import { chart } from "../parts/chart.js";
import { bars, probabilities, section, table } from "../parts/elements.js";
import { button } from "../parts/fields.js";
import { figure, percent } from "../parts/numbers.js";
import { gray } from "../parts/pictures.js";
import { html, nothing } from "../parts/template.js";

const COLD = -9; // powers of ten: the ends of the thermometer
const HOT = 1;
const BURST = 50; // a loss above it is shown on a scale of powers of ten
const COLUMNS = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "perplexity", "learning_rate"];

/** @typedef {import("./train.js").Train} Train */

/** @param {Train} view */
export function display(view) {
  const { run, frame } = view;
  const isOfImages = run.task === "images";
  return html`
    <div class="columns">
      ${section("loss", "Loss", html`<canvas class="chart loss"></canvas>`, [
        "How wrong the network is, on average: training makes it smaller. If the validation's rises while the training's falls, it learns by heart.",
        "learning-better",
      ])}
      ${isOfImages ? section("accuracy", "Accuracy", html`<canvas class="chart accuracy"></canvas>
        <p class="quiet">${frame?.mean_accuracy == null ? "" : `This epoch so far: ${percent(frame.mean_accuracy)}.`}</p>`, [
        "The part of the images that are read right. The validation images are not trained on.",
        "the-network-reads-digits",
      ]) : nothing}
    </div>
    <div class="columns">
      ${isOfImages ? digit(view) : nothing}
      ${frame?.layers ? thermometer(frame.layers) : nothing}
      ${frame?.neurons?.length ? section("dead", "Ward of the dead neurons", frame.neurons.map(({ path, kind, count }, i) => html`
        <p>Layer ${path}: ${count} of ${buffersOf(view, "neurons")[i]?.byteLength ?? 0} ${kind}</p>
        <canvas class="picture ward" role="img" aria-label=${`Layer ${path}: ${count} ${kind}`}></canvas>`), [
        "A rectifier whose sum is negative for every image says 0 and gets no gradient: it is dead. Each square is a neuron; the black ones said nothing to 100 training images.",
        "dead-neurons",
      ]) : nothing}
    </div>
    ${frame?.histograms?.length ? section("weights", "Weights", html`
      <div class="histograms">${frame.histograms.map(({ name }) => html`
        <figure><canvas class="chart histogram"></canvas><figcaption>${name}</figcaption></figure>`)}</div>`, [
      "How many weights have which size: they begin near zero, and training pulls them apart.",
      "neurons",
    ]) : nothing}
    ${run.records.length ? epochs(run.records) : nothing}
    <p class="quiet">${run.run}: ${run.about}.
      To go on with it in a terminal: <code>${run.command}</code></p>`;
}

/** @param {NonNullable<training.Frame["layers"]>} layers */
const thermometer = (layers) => section("heat", "Gradient thermometer", html`
  ${bars("The size of each layer's gradient, per weight, on a scale of powers of ten", layers.map(({ path, kind, gradient }) => ({
    name: `${path} ${kind}`, value: gradient ? Math.log10(gradient) : COLD, text: gradient === null ? "none" : figure(gradient),
  })), COLD, HOT)}
  <p class="quiet">From 10⁻⁹ on the left to 10 on the right.</p>`, [
  "How strongly the last step pulls at each weight of a layer, on average: a mark further right is ten times as strong. A layer far on the left hardly learns; one far on the right may burst.",
  "vanishing-gradients",
]);

/** @param {training.Run["records"]} records */
function epochs(records) {
  const columns = COLUMNS.filter((name) => name in records[0]);
  const cell = (/** @type {string} */ name, /** @type {number | null} */ value) =>
    value === null ? "not a number" : name === "epoch" ? value : value.toPrecision(6);
  return html`<details><summary>The numbers of each epoch</summary>
    ${table("Epochs", "epochs", columns.map((name) => name.replaceAll("_", " ")),
      records.map((record) => html`<tr>${columns.map((name) => html`<td>${cell(name, record[name])}</td>`)}</tr>`))}</details>`;
}

/** What the network says of a digit. @param {Train} view */
function digit(view) {
  const { picture, frame, pad } = view;
  const names = picture?.names ?? [..."0123456789"];
  const values = frame?.bars;
  const label = picture?.label;
  return section("digit", "What it says of this digit", html`
    <div class="seen"><canvas class="picture digit" role="img" aria-label=${label ? `The picture, a ${label}` : "The drawing, as the network sees it"}></canvas>
      <span>${label ? `a ${label} from the test images` : "your drawing"}</span></div>
    <p class="buttons">${button("Another digit", () => view.another())}</p>
    ${probabilities(names, values, values ? names[values.indexOf(Math.max(...values.map(Number)))] : undefined)}
    <details class="own"><summary>Draw one yourself</summary>
      ${pad.template()}
    </details>`, [
    "The same picture at every step: watch it change its mind. Softmax makes the outputs positive and their sum 1.",
    "the-network-reads-digits",
  ]);
}

/** The buffers of a part of the frame, whose lengths stand in it, in this order. @param {Train} view @param {string} part @returns {DataView[]} */
function buffersOf({ frame, buffers }, part) {
  let start = 1; // after the curve
  for (const [name, length] of Object.entries(frame?.lengths ?? {})) {
    if (name === part) return buffers.slice(start, start + length);
    start += length;
  }
  return [];
}

/** Paint the canvases. @param {Train} view */
export function paint(view) {
  const { run: { records, changes }, frame, picture } = view;
  const perEpoch = frame?.steps_per_epoch ?? 1;
  const x = frame ? "step" : "epoch";
  const line = (/** @type {string} */ name, /** @type {string} */ key, dashed = false) => ({
    name, x: records.map(({ epoch }) => Number(epoch) * perEpoch), y: records.map((record) => record[key] ?? NaN),
    color: dashed ? 2 : 1, dashed,
  });
  const curve = frame ? floats(view.buffers[0]) : [];
  const losses = column(curve, 1, 2);
  const last = changes.filter(({ settings }) => settings.lr).at(-1);
  const mark = frame && last ? last.epoch * perEpoch + last.step : undefined;
  chart(view.canvas("canvas.loss"), {
    lines: [
      { name: "each step", x: column(curve, 0, 2), y: losses, color: 0 },
      line("training", "train_loss"), line("validation", "validation_loss", true),
    ], x, y: "Loss", mark, ...(Math.max(0, ...losses) > BURST ? { log: true } : { low: 0 }),
  });
  chart(view.canvas("canvas.accuracy"), {
    lines: [line("training", "train_accuracy"), line("validation", "validation_accuracy", true)],
    x, y: "Accuracy", high: 1, mark: records.length ? mark : undefined,
  });
  if (picture) {
    const [height, width] = picture.shape.slice(-2);
    gray(view.canvas("canvas.digit"), picture.values.slice(-height * width), width, height);
  }
  const wards = view.canvases("canvas.ward");
  buffersOf(view, "neurons").forEach((buffer, i) => {
    const dead = bytes(buffer);
    const width = Math.min(32, dead.length);
    const cells = new Uint8Array(width * Math.ceil(dead.length / width)).fill(128);
    dead.forEach((value, cell) => (cells[cell] = value ? 0 : 255));
    gray(wards[i], cells, width, cells.length / width);
  });
  const counts = buffersOf(view, "histograms").map(integers);
  view.canvases("canvas.histogram").forEach((canvas, i) => {
    const { name, limit } = /** @type {NonNullable<training.Frame["histograms"]>} */ (frame?.histograms)[i];
    const middle = (counts[i].length - 1) / 2;
    const places = Array.from(counts[i], (_, bin) => ((bin - middle) / (middle + 0.5)) * limit);
    chart(canvas, { lines: [{ name, x: places, y: counts[i] }], low: 0, y: `Weights ${name}` });
  });
}
