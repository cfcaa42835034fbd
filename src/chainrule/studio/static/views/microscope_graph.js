// @ts-check
// The graph of the Microscope: the recorded operations, forward and then backward, one at a time.

import { html, nothing } from "../vendor/lit-html.js";
import { explain } from "../parts/explain.js";
import { grid, number } from "../parts/numbers.js";
import { signed } from "../parts/pictures.js";

/**
 * @typedef {{ name: string, layer: string, inputs: (number | string)[], shape: number[], value: number[], gradient: number[] }} Operation
 * @typedef {{ operation: number, shape: number[], value: Float32Array, gradient: Float32Array }} Picture
 */

/** Where a step is: first forward through all operations, then backward. @param {number} step @param {number} count */
export function position(step, count) {
  const at = Math.max(0, Math.min(2 * count - 1, Math.round(step)));
  return { step: at, isBack: at >= count, operation: at < count ? at : 2 * count - 1 - at };
}

/**
 * @param {Operation[]} operations @param {number} wanted the step @param {Picture | null} picture
 * @param {(step: number) => void} go
 */
export function graph(operations, wanted, picture, go) {
  const count = operations.length;
  const last = 2 * count - 1;
  const { step, isBack, operation } = position(wanted, count);
  const { name, layer, inputs, shape, value, gradient } = operations[operation];
  const size = shape.slice(1).join("×") || "1 number";
  const sources = inputs.map((input) => (typeof input === "number" ? `${input + 1} (${operations[input].name})` : input));
  const range = (/** @type {string} */ what, /** @type {number[]} */ [low, high]) =>
    html`from ${number(`${what}-low`, low)} to ${number(`${what}-high`, high)}`;
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    go(Math.max(0, Math.min(last, step + move)));
  };
  return html`
    <section class="graph" aria-labelledby="graph-title" @keydown=${key}>
      <h2 id="graph-title">The graph, one operation at a time</h2>
      <p>Forward, each operation makes a value of those before it. Backward, each gets the slope of the cost in its value.
        ${explain("The library records every operation while it runs; to go back through this list is backpropagation.", "your-own-tape", "the graph")}</p>
      <p class="buttons">
        <button @click=${() => go(step - 1)} ?disabled=${step === 0}>◀ Step back</button>
        <button @click=${() => go(step + 1)} ?disabled=${step === last}>Step on ▶</button>
        <button @click=${() => go(0)} ?disabled=${step === 0}>From the start</button></p>
      <p class="quiet">Here the left and right arrow keys step, too.</p>
      <ol class="operations">${operations.map((each, i) => html`
        <li><button class=${`${i <= step ? "done" : ""} ${i >= last - step ? "back" : ""}`} aria-current=${i === operation ? "step" : "false"}
          tabindex=${i === operation ? 0 : -1} @click=${() => go(isBack ? last - i : i)}><span>${i + 1} ${each.name}</span><span>${each.shape.slice(1).join("×") || "1"}</span></button></li>`)}</ol>
      <div aria-live="polite">
        <p><strong>${isBack ? "Backward" : "Forward"}, ${operation + 1} of ${count}: ${name}</strong> (${layer ? `layer ${layer}` : "the cost"})
          takes ${sources.join(", ")} and gives ${size}, ${range("value", value)}.</p>
        ${isBack ? html`<p>The slopes of the cost in them: ${range("gradient", gradient)}.</p>` : nothing}
      </div>
      ${picture?.operation === operation && shape.length ? html`<div class="pair">
        <figure><canvas class="plain value" role="img" aria-label="Its values"></canvas><figcaption>values</figcaption></figure>
        ${isBack ? html`<figure><canvas class="plain gradient" role="img" aria-label="The slopes"></canvas><figcaption>slopes of the cost</figcaption></figure>` : nothing}
      </div>` : nothing}
    </section>`;
}

/** Paint the operation's pictures. @param {HTMLElement} el @param {Picture} picture */
export function paintGraph(el, picture) {
  for (const [which, values] of /** @type {[string, Float32Array][]} */ ([["value", picture.value], ["gradient", picture.gradient]])) {
    const canvas = /** @type {HTMLCanvasElement | null} */ (el.querySelector(`canvas.${which}`));
    if (canvas) maps(canvas, values, picture.shape);
  }
}

/** Maps side by side. @param {HTMLCanvasElement} canvas @param {Float32Array} values @param {number[]} shape */
function maps(canvas, values, [count, height, width]) {
  if (height === 1 && width > 28) [height, width] = grid(width);
  const columns = Math.ceil(Math.sqrt((count * height) / width));
  const across = columns * (width + 1) - 1;
  const picture = new Float32Array((Math.ceil(count / columns) * (height + 1) - 1) * across);
  values.forEach((value, i) => {
    const tile = Math.floor(i / (height * width));
    const row = Math.floor(tile / columns) * (height + 1) + Math.floor((i % (height * width)) / width);
    picture[row * across + (tile % columns) * (width + 1) + (i % width)] = value;
  });
  signed(canvas, picture, across, picture.length / across);
  canvas.style.width = `${Math.min(28, Math.max(2, Math.floor(340 / across))) * across}px`;
}
