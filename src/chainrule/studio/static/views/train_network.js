// @ts-check
// Train: what is seen of the network: curves, bars, gradients, dead neurons, histograms.

import { html, nothing } from "../vendor/lit-html.js";
import { bytes, floats, integers } from "../parts/arrays.js";
import { chart, figure } from "../parts/chart.js";
import { explain } from "../parts/explain.js";
import { gray } from "../parts/pictures.js";

const COLD = -9; // powers of ten: the ends of the thermometer
const HOT = 1;
const BURST = 50; // a loss above it is shown on a scale of powers of ten

/** @param {number} value */
const percent = (value) => `${(100 * value).toFixed(1)}%`;
const COLUMNS = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "perplexity", "learning_rate"];

/** @param {any} view the view Train */
export function display(view) {
  const { run, frame } = view;
  const images = run.task === "images";
  return html`
    <div class="columns">
      <section aria-labelledby="loss-title">
        <h2 id="loss-title">Loss ${explain("How wrong the network is, on average: training makes it smaller. If the validation's rises while the training's falls, it learns by heart.", "learning-better", "the loss")}</h2>
        <canvas class="chart loss"></canvas>
        ${legend([["step", "each step"], ["whole", "training, whole epochs"], ["validation", "validation"]])}
      </section>
      ${images ? html`
        <section aria-labelledby="accuracy-title">
          <h2 id="accuracy-title">Accuracy ${explain("The part of the images that are read right. The validation images are not trained on.", "the-network-reads-digits", "the accuracy")}</h2>
          <canvas class="chart accuracy"></canvas>
          ${legend([["whole", "training"], ["validation", "validation"]])}
          <p class="quiet">${frame?.mean_accuracy !== null && frame?.mean_accuracy !== undefined ? `This epoch so far: ${percent(frame.mean_accuracy)}.` : ""}</p>
        </section>` : nothing}
    </div>
    <div class="columns">
      ${images ? bars(view) : nothing}
      ${frame?.layers ? html`
        <section aria-labelledby="heat-title">
          <h2 id="heat-title">Gradient thermometer ${explain("How strongly the last step pulls at each weight of a layer, on average: a mark further right is ten times as strong. A layer far on the left hardly learns; one far on the right may burst.", "vanishing-gradients", "the thermometer")}</h2>
          <table class="bars">
            <caption class="spoken">The size of each layer's gradient, per weight, on a scale of powers of ten</caption>
            <tbody>${frame.layers.map((/** @type {any} */ layer) => html`
              <tr><th scope="row">${layer.path} ${layer.kind}</th>
                <td><meter min=${COLD} max=${HOT} .value=${layer.gradient ? Math.log10(layer.gradient) : COLD}
                  aria-label=${`${layer.path} ${layer.kind}`}></meter></td>
                <td class="number">${layer.gradient === null ? "none" : figure(layer.gradient)}</td></tr>`)}
            </tbody>
          </table>
          <p class="quiet">From 10⁻⁹ on the left to 10 on the right.</p>
        </section>` : nothing}
      ${frame?.neurons?.length ? html`
        <section aria-labelledby="dead-title">
          <h2 id="dead-title">Ward of the dead neurons ${explain("A rectifier whose sum is negative for every image says 0 and gets no gradient: it is dead. Each square is a neuron; the black ones said nothing to 100 training images.", "dead-neurons", "dead neurons")}</h2>
          ${frame.neurons.map((/** @type {any} */ layer, /** @type {number} */ i) => html`
            <p>Layer ${layer.path}: ${layer.count} of ${sizeOf(view, "neurons", i)} ${layer.kind}</p>
            <canvas class="ward" role="img" aria-label=${`Layer ${layer.path}: ${layer.count} ${layer.kind}`}></canvas>`)}
        </section>` : nothing}
    </div>
    ${frame?.histograms?.length ? html`
      <section aria-labelledby="weights-title">
        <h2 id="weights-title">Weights ${explain("How many weights have which size: they begin near zero, and training pulls them apart.", "neurons", "the histograms")}</h2>
        <div class="histograms">${frame.histograms.map((/** @type {any} */ part) => html`
          <figure><canvas class="chart histogram"></canvas><figcaption>${part.name}</figcaption></figure>`)}</div>
      </section>` : nothing}
    ${run.records.length ? html`
      <details><summary>The numbers of each epoch</summary><div class="wide" tabindex="0" role="region" aria-label="Epochs">
        <table class="epochs"><thead><tr>${columns(run).map((name) => html`<th scope="col">${name.replaceAll("_", " ")}</th>`)}</tr></thead>
        <tbody>${run.records.map((/** @type {any} */ record) => html`<tr>${columns(run).map((name) => html`
          <td>${record[name] === null ? "not a number" : name === "epoch" ? record[name] : Number(record[name]).toPrecision(6)}</td>`)}</tr>`)}
        </tbody></table></div></details>` : nothing}
    <p class="quiet">${run.run}: ${run.model} on ${run.data}, ${run.optimizer}, batch size ${run.batch_size}, seed ${run.seed}.
      To go on with it in a terminal: <code>${run.command}</code></p>`;
}

/** @param {any} run @returns {string[]} */
const columns = (run) => COLUMNS.filter((name) => name in run.records[0]);

/** What the network says of a digit. @param {any} view */
function bars(view) {
  const { picture, frame } = view;
  const names = picture?.names ?? [..."0123456789"];
  const values = frame?.bars ?? null;
  const best = values ? values.indexOf(Math.max(...values)) : -1;
  return html`
    <section aria-labelledby="digit-title">
      <h2 id="digit-title">What it says of this digit ${explain("The same picture at every step: watch it change its mind. Softmax makes the outputs positive and their sum 1.", "the-network-reads-digits", "the bars")}</h2>
      <div class="seen"><canvas class="digit" role="img" aria-label=${picture?.label ? `The picture, a ${picture.label}` : "The drawing, as the network sees it"}></canvas>
        <span>${picture?.label ? `a ${picture.label} from the test images` : "your drawing"}</span></div>
      <p class="buttons"><button @click=${() => view.another()}>Another digit</button></p>
      <table class="bars">
        <caption class="spoken">The probability of each digit</caption>
        <tbody>${names.map((/** @type {string} */ name, /** @type {number} */ i) => html`
          <tr class=${i === best ? "best" : ""}><th scope="row">${name}</th>
            <td><meter min="0" max="1" .value=${values?.[i] ?? 0} aria-label=${name}></meter></td>
            <td class="number">${values && values[i] !== null ? percent(values[i]) : ""}</td></tr>`)}
        </tbody>
      </table>
      <details class="own"><summary>Draw one yourself</summary>
        ${view.pad.template("train-keys")}
        <p class="buttons"><button @click=${() => view.pad.clear()}>Clear</button></p>
        <p id="train-keys" class="quiet keys">By keyboard: arrows move the pen, Space puts it down and lifts it, Backspace undoes.</p>
      </details>
    </section>`;
}

/** @param {[string, string][]} entries */
const legend = (entries) => html`<ul class="legend" aria-hidden="true">${entries.map(([kind, text]) => html`
  <li><svg width="28" height="10"><line class=${kind} x1="0" y1="5" x2="28" y2="5"></line></svg> ${text}</li>`)}</ul>`;

/** The buffers of a part of the frame, whose lengths stand in it, in this order. @param {any} view @param {string} part @returns {DataView[]} */
function buffersOf(view, part) {
  let start = 1; // after the curve
  for (const [name, length] of Object.entries(view.frame.lengths)) {
    if (name === part) return view.buffers.slice(start, start + length);
    start += length;
  }
  return [];
}

/** @param {any} view @param {string} part @param {number} i @returns {number} */
const sizeOf = (view, part, i) => buffersOf(view, part)[i]?.byteLength ?? 0;

/** Paint the canvases. @param {HTMLElement} el @param {any} view */
export function draw(el, view) {
  const { run, frame, picture } = view;
  if (!run) return;
  const records = run.records;
  const per = frame?.steps_per_epoch ?? 1;
  const x = frame ? "step" : "epoch";
  const epochs = records.map((/** @type {any} */ record) => record.epoch * per);
  const values = (/** @type {string} */ name) => records.map((/** @type {any} */ record) => record[name] ?? NaN);
  const line = (/** @type {string} */ name, /** @type {string} */ key, /** @type {number} */ color, dashed = false) => ({ name, x: epochs, y: values(key), color, dashed });
  const curve = frame ? floats(view.buffers[0]) : new Float32Array();
  const steps = curve.filter((_, i) => i % 2 === 0);
  const last = run.changes.filter((/** @type {any} */ change) => change.settings.lr).at(-1);
  const mark = frame && last ? last.epoch * per + last.step : undefined;
  paint(el, "canvas.loss", {
    lines: [
      { name: "each step", x: steps, y: curve.filter((_, i) => i % 2 === 1), color: 0 },
      line("training", "train_loss", 1), line("validation", "validation_loss", 2, true),
    ], x, y: "Loss", mark, ...(Math.max(0, ...curve.filter((_, i) => i % 2)) > BURST ? { log: true } : { low: 0 }),
  });
  paint(el, "canvas.accuracy", {
    lines: [line("training", "train_accuracy", 1), line("validation", "validation_accuracy", 2, true)],
    x, y: "Accuracy", high: 1, mark: records.length ? mark : undefined,
  });
  const digit = /** @type {HTMLCanvasElement | null} */ (el.querySelector("canvas.digit"));
  if (digit && picture) gray(digit, picture.values.slice(-picture.shape.at(-1) * picture.shape.at(-2)), picture.shape.at(-1), picture.shape.at(-2));
  if (!frame) return;
  const wards = el.querySelectorAll("canvas.ward");
  buffersOf(view, "neurons").forEach((buffer, i) => {
    const dead = bytes(buffer);
    const width = Math.min(32, dead.length);
    const cells = new Uint8Array(width * Math.ceil(dead.length / width)).fill(128);
    dead.forEach((value, cell) => (cells[cell] = value ? 0 : 255));
    if (wards[i]) gray(/** @type {HTMLCanvasElement} */ (wards[i]), cells, width, cells.length / width);
  });
  const counts = buffersOf(view, "histograms").map(integers);
  el.querySelectorAll("canvas.histogram").forEach((canvas, i) => {
    if (!counts[i]) return;
    const { name, limit } = frame.histograms[i];
    const middle = (counts[i].length - 1) / 2;
    const places = Array.from(counts[i], (_, bin) => ((bin - middle) / (middle + 0.5)) * limit);
    chart(/** @type {HTMLCanvasElement} */ (canvas), { lines: [{ name, x: places, y: counts[i] }], low: 0, y: `Weights ${name}` });
  });
}

/** @param {HTMLElement} el @param {string} which @param {any} what */
function paint(el, which, what) {
  const canvas = /** @type {HTMLCanvasElement | null} */ (el.querySelector(which));
  if (canvas) chart(canvas, what);
}
