// @ts-check
// The graph of the Microscope: the recorded operations, forward and then backward, one at a time.

import { layout, locate } from "../parts/cells.js";
import { explain } from "../parts/elements.js";
import { button } from "../parts/fields.js";
import { ARROWS, isModified } from "../parts/keys.js";
import { clamp, grid, number } from "../parts/numbers.js";
import { signed } from "../parts/pictures.js";
import { html, nothing } from "../parts/template.js";

/** Where a step is: first forward through all operations, then backward. @param {number} step @param {number} count */
export function position(step, count) {
  const at = clamp(Math.round(step), 0, 2 * count - 1);
  return { step: at, isBack: at >= count, operation: at < count ? at : 2 * count - 1 - at };
}

/**
 * @param {microscope.Operation[]} operations @param {number} wanted the step @param {microscope.Picture | null} picture
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
    const [move] = ARROWS[event.key] ?? [0];
    if (!move || isModified(event)) return;
    event.preventDefault();
    go(clamp(step + move, 0, last));
  };
  return html`
    <section class="graph" aria-labelledby="graph-title" @keydown=${key}>
      <h2 id="graph-title">The graph, one operation at a time</h2>
      <p>Forward, each operation makes a value of those before it. Backward, each gets the slope of the cost in its value.
        ${explain("The library records every operation while it runs; to go back through this list is backpropagation.", "your-own-tape", "the graph")}</p>
      <p class="buttons">
        ${button("◀ Step back", () => go(step - 1), step === 0)}
        ${button("Step on ▶", () => go(step + 1), step === last)}
        ${button("From the start", () => go(0), step === 0)}</p>
      <p class="quiet">Here the left and right arrow keys step, too.</p>
      <ol class="list operations">${operations.map((each, i) => html`
        <li><button class=${`${i <= step ? "done" : ""} ${i >= last - step ? "back" : ""}`} aria-current=${i === operation ? "step" : "false"}
          tabindex=${i === operation ? 0 : -1} @click=${() => go(isBack ? last - i : i)}><span>${i + 1} ${each.name}</span><span>${each.shape.slice(1).join("×") || "1"}</span></button></li>`)}</ol>
      <div aria-live="polite">
        <p><strong>${isBack ? "Backward" : "Forward"}, ${operation + 1} of ${count}: ${name}</strong> (${layer ? `layer ${layer}` : "the cost"})
          takes ${sources.join(", ")} and gives ${size}, ${range("value", value)}.</p>
        ${isBack ? html`<p>The slopes of the cost in them: ${range("gradient", gradient)}.</p>` : nothing}
      </div>
      ${picture?.operation === operation && shape.length ? html`<div class="pair">
        <figure><canvas class="picture value" role="img" aria-label="Its values"></canvas><figcaption>values</figcaption></figure>
        ${isBack ? html`<figure><canvas class="picture gradient" role="img" aria-label="The slopes"></canvas><figcaption>slopes of the cost</figcaption></figure>` : nothing}
      </div>` : nothing}
    </section>`;
}

/** Paint the operation's pictures. @param {import("../parts/view.js").View} view @param {microscope.Picture} picture */
export function paintGraph(view, { shape, value, gradient }) {
  maps(view.canvas("canvas.value"), value, shape);
  maps(view.canvas("canvas.gradient"), gradient, shape);
}

/** Maps side by side. @param {HTMLCanvasElement | null} canvas @param {Float32Array} values @param {number[]} shape */
function maps(canvas, values, [, height, width]) {
  if (!canvas) return;
  if (height === 1 && width > 28) [height, width] = grid(width);
  const tiles = { values, height, width };
  const { across, down, size } = layout(tiles);
  const picture = new Float32Array(across * down);
  values.forEach((value, i) => {
    const { row, column } = locate(tiles, i);
    picture[row * across + column] = value;
  });
  signed(canvas, picture, across, down);
  canvas.style.width = `${size * across}px`;
}
