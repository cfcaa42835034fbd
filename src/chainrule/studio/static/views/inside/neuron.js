// @ts-check
// One neuron: what it looks for, what excites it, its partners; and surgery.

import { explain } from "../../parts/elements.js";
import { button } from "../../parts/fields.js";
import { figure, percent, thousands } from "../../parts/numbers.js";
import { gray, signed } from "../../parts/pictures.js";
import { html, nothing } from "../../parts/template.js";
import { part } from "./layers.js";

/** @typedef {import("../inside.js").Inside} Inside */

/** @param {Inside} view */
function surgery(view) {
  const silent = view.silent();
  const { accuracy } = view;
  return html`
    <h3>Surgery
      ${explain(
        "A silent neuron's outgoing weights are 0: the next layer hears nothing of it. A network that learned well can miss most of its neurons.",
        "dead-neurons", "surgery",
      )}</h3>
    <p aria-live="polite" class="accuracy">${!silent.length
      ? "No neuron is silent."
      : `${silent.length} silent. ${accuracy
        ? `Of ${thousands(accuracy.count)} test images it read ${percent(accuracy.before, 2)} right; now ${percent(accuracy.after, 2)}.`
        : "Reading all test images without…"}`}</p>
    <p class="buttons" ?hidden=${!silent.length}>
      ${button("Undo", () => view.set({ silent: silent.slice(0, -1).join("-") }))}
      ${button("Let all speak", () => view.set({ silent: "" }))}
    </p>`;
}

/** @param {Inside} view */
export function neuron(view) {
  const key = view.shown();
  const hint = html`<h2 id="neuron-title">A neuron</h2><p>Click a square to see here what it looks for.</p>
    <p class="quiet keys">By keyboard: Tab and the arrow keys go to one, Enter holds on to it, Delete silences it.</p>${surgery(view)}`;
  if (!key || !view.look) return hint;
  const [layer, neuron] = key.split(".").map(Number);
  const isAnswer = layer === view.network.layers.length - 1;
  const kind = view.network.layers[layer].filters ? "filter" : "neuron";
  const { weights, top, waiting } = view.neurons.get(key) ?? {};
  return html`
    <h2 id="neuron-title">${isAnswer ? `The neuron for ${view.name(neuron)}` : `Layer ${layer + 1}, ${kind} ${neuron}`}</h2>
    <p>Its ${kind === "filter" ? "largest " : ""}output for this picture: <strong>${figure(view.layers.value(view.look, layer, neuron))}</strong></p>
    ${isAnswer ? nothing : html`<p class="buttons">
      ${button(view.silent().includes(key) ? "Let it speak" : "Silence it", () => view.toggle(key))}</p>`}
    ${surgery(view)}
    ${weights?.shape[0] ? html`<h3>${kind === "filter" ? "Its weights" : "What it looks for: its weights"}</h3>
      <p class="row">${Array.from({ length: weights.shape[0] }, (_, i) => html`<canvas class="picture weights" role="img"
        aria-label=${weights.in.length ? `weights from ${weights.in[i]?.[0]}` : "weights"}></canvas>`)}</p>
      <p class="quiet">Ink on orange excites it, ink on blue calms it.</p>` : nothing}
    <h3>What excites it most ${explain(
      "Of the training images those for which its output is largest, and their mean: what they have in common.",
      layer ? "the-network-reads-digits" : "neurons", "these images")}</h3>
    ${top
      ? html`<p class="row">${top.indices.map((index, i) => html`
          <canvas class="picture top" role="img" aria-label=${`training image ${index}, ${view.name(top.labels[i])}: ${figure(top.values[i])}`}></canvas>`)}
          <canvas class="picture mean" role="img" aria-label="their mean"></canvas></p>
        <p class="quiet">${top.values[0] > 0
          ? `Among ${top.among}: ${top.labels.map((label) => view.name(label)).join(", ")}; the last picture is their mean.`
          : `None: for all of ${top.among} it puts out 0 or less.`}</p>`
      : html`<p class="quiet">${waiting ? "Looking through the training images…" : "…"}</p>`}
    ${partners(view, "Hears most from", weights?.in, layer - 1)}
    ${partners(view, "Is heard most by", weights?.out, layer + 1)}`;
}

/** @param {Inside} view @param {string} title @param {inside.Partner[] | undefined} pairs @param {number} layer */
function partners(view, title, pairs, layer) {
  if (!pairs?.length) return nothing;
  const isAnswer = layer === view.network.layers.length - 1;
  const go = (/** @type {number} */ index) => {
    view.hovered = "";
    view.set({ neuron: `${layer}.${index}` });
  };
  return html`<h3>${title}</h3><ul class="list partners">${pairs.map(([index, weight]) => html`
    <li>${button(isAnswer ? view.name(index) : index, () => go(index))} ${figure(weight)}</li>`)}</ul>`;
}

/** @param {Inside} view */
export function paintNeuron(view) {
  const { weights, top } = view.neurons.get(view.shown()) ?? {};
  view.canvases(".neuron canvas.weights").forEach((canvas, i) => {
    if (!weights) return;
    const [, height, width] = weights.shape;
    signed(canvas, part(weights.pictures, i, height * width), width, height);
  });
  if (!top) return;
  const [, height, width] = top.shape;
  view.canvases(".neuron canvas.top").forEach((canvas, i) => gray(canvas, part(top.pictures, i, height * width), width, height));
  view.canvases(".neuron canvas.mean").forEach((canvas) => gray(canvas, top.mean.map((value) => 255 * value), width, height));
}
