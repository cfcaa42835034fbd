// @ts-check
// The Microscope's equations: the slope of the cost in a weight, the blame δ of a neuron, and what checks and uses them.

import { cells } from "../parts/cells.js";
import { explain, section, table } from "../parts/elements.js";
import { button } from "../parts/fields.js";
import { number, ravel, readable, unravel } from "../parts/numbers.js";
import { html, nothing } from "../parts/template.js";
import { layerOf, placeOf, spot, unitOf, where } from "./microscope_names.js";

const FEW = 10; // terms of a sum that are listed at first
const SIGNS = ["", "①", "②", "③", "④"]; // of the equations

/** @typedef {import("./microscope.js").Microscope} Microscope */

/** Equation 2 or 4. @param {Microscope} view @param {microscope.Seen} seen */
export function slope(view, seen) {
  const { network, weight, deltas, activations } = seen;
  const count = deltas.values.length;
  const { origin, isBias } = weight;
  const letter = isBias ? "b" : "w";
  const name = (/** @type {number} */ i) => placeOf(network, weight.layer, deltas.indices[i]);
  const delta = (/** @type {number} */ i) =>
    factor("δ", deltas.values[i], `δ of ${name(i)}`, () => view.toUnit(weight.layer, deltas.indices[i]));
  const activation = (/** @type {number} */ i) => origin && count === 1
    ? factor("a", activations.values[i], "where it comes from", () => view.toUnit(origin.layer, origin.index))
    : number("a", activations.values[i]);
  return section("slope", `${SIGNS[weight.equation]} The slope of the cost in this ${isBias ? "bias" : "weight"}`, html`
    <p>The ${isBias ? "" : "weight "}${where(network, weight)}: ${letter} = ${number("w", weight.value)}
      ${explain(isBias ? "A push to a bias arrives as it is, so the slope of the cost in it is the blame δ of its neuron."
        : "The slope of the cost in a weight is the blame δ at the end of its wire, times the number a that comes along it.",
        "backpropagation", "the slope")}</p>
    <p class="equation">∂C/∂${letter} = ${count === 1 ? html`δ · a = ${delta(0)} · ${activation(0)}` : `Σ δ · a, over ${count} places`}
      = <b>${number("slope", weight.sum)}</b></p>
    ${count === 1 ? nothing : count ? places(view, seen)
      : html`<p>Wherever this tap lies, it is outside of the image, where all is 0.</p>`}
    ${count > 1 ? terms(view, "slope", count, ["place", "δ", "a", "δ · a"], (i) => deltas.values[i] * activations.values[i],
      (i) => html`<th scope="row">${name(i)}</th><td>${delta(i)}</td><td>${activation(i)}</td>`) : nothing}
    ${onTape("gradient", weight.gradient, weight.sum)}`);
}

/** The terms of a weight that is used at many places, as a map of these. @param {Microscope} view @param {microscope.Seen} seen */
function places(view, seen) {
  const { network, weight, deltas, activations, unit } = seen;
  const layer = layerOf(network.layers, weight.layer);
  const [, height, width] = layer.output;
  if (!width) return nothing;
  const values = new Float64Array(height * width);
  deltas.indices.forEach(([, y, x], i) => { values[y * width + x] = deltas.values[i] * activations.values[i]; });
  const isHere = unit?.layer === layer.name && unit.index[0] === weight.index[0];
  const at = view.spot(seen).unit.slice(1);
  const chosen = isHere ? ravel(at, [height, width]) : -1;
  const choose = (/** @type {number} */ position) =>
    view.toUnit(layer.name, [weight.index[0], ...unravel(position, [height, width])], false);
  return html`${cells(`The terms δ · a at ${height} by ${width} places${isHere ? `; chosen: ${spot(at)}` : ""}. Arrow keys move.`,
    { values, height, width, chosen, choose })}
    <p class="quiet">What each place adds. The δ of the marked one is shown next to it.</p>`;
}

/** Equation 1 or 3. @param {Microscope} view @param {microscope.Seen} seen @param {microscope.Unit} unit */
export function blame(view, { network }, unit) {
  const isOutput = unit.equation === 1;
  return section("blame", `${SIGNS[unit.equation]} The blame δ of ${unitOf(network, unit.layer, unit.index)}`, html`
    <p>Its sum z is ${number("z", unit.z)}.
      ${explain(isOutput ? "A push to z moves the output by the slope of its activation, and that moves the cost: the chain rule multiplies the two."
        : "A neuron's blame is the blame of all that listen to it, each times the weight of the wire, times the slope of its own activation.",
        isOutput ? "the-chain-rule" : "backpropagation", "the blame")}</p>
    ${unit.ways.map((way, i) => html`${unit.ways.length > 1 ? html`<h3>Way ${i + 1} of ${unit.ways.length}</h3>` : nothing}${path(view, network, unit, way, i)}`)}
    <p class="equation">δ = <b>${number("delta-sum", unit.sum)}</b></p>
    ${onTape("delta", unit.delta, unit.sum)}`);
}

/** @param {Microscope} view @param {microscope.Network} network @param {microscope.Unit} unit @param {microscope.Way} way @param {number} index */
function path(view, network, unit, way, index) {
  const steps = way.steps.filter((step) => step.kind !== "Flatten" && step.kind !== "Dropout");
  const slopes = steps.length ? html`${number("slopes", way.factor)} · ` : nothing;
  const listed = html`<ul>${steps.map(({ kind, factor, input, output }) => html`
    <li>${kind}: ${!factor && /Pool/.test(kind) ? "another one in its window is larger" : html`${number("input", input)} → ${number("output", output)}`},
      slope ${number("factor", factor)}</li>`)}</ul>`;
  if (!way.factor) return html`${listed}<p>So nothing gets through: a push to z changes nothing.</p>`;
  const rule = steps.length ? "slope · " : "";
  if (unit.equation === 1) {
    const [letter, what] = way.isSoftmax ? ["p", "p is the probability that softmax makes of the outputs"] : ["a", "a is what it says"];
    return way.prediction === null ? html`${listed}<p class="equation">δ = ${rule}∂C/∂output = ${slopes}${number("arriving", way.arriving)}</p>`
      : html`${listed}<p class="equation">δ = ${rule}(${letter} − y) = ${slopes}(${number("prediction", way.prediction)} − ${number("target", way.target)})</p>
        <p class="quiet">${what}, and y what it should be.</p>`;
  }
  const { weights, deltas } = way;
  return html`${listed}
    <p class="equation">δ = ${rule}Σ w · δ = ${slopes}${number("arriving", way.arriving)}</p>
    ${terms(view, index ? `blame, way ${index + 1}` : "blame", way.count, ["to", "w", "δ", "w · δ"], (i) => weights.values[i] * deltas.values[i], (i) => {
      const name = placeOf(network, unit.next, deltas.indices[i], true);
      return html`<th scope="row">${name}</th>
        <td>${factor("w", weights.values[i], `the weight to ${name}`, () => view.toWeight(`${unit.next}.weight`, weights.indices[i]))}</td>
        <td>${factor("δ", deltas.values[i], `δ of ${name}`, () => view.toUnit(unit.next, deltas.indices[i]))}</td>`;
    })}`;
}

/** A number that leads to where it comes from. @param {string} what @param {number} value @param {string} about @param {() => void} go */
function factor(what, value, about, go) {
  return html`<button class="factor" title=${about} @click=${go}>${number(what, value)}</button>`;
}

/**
 * The terms of a sum: at first the largest.
 * @param {Microscope} view @param {string} name @param {number} count @param {string[]} heads @param {(i: number) => number} term
 * @param {(i: number) => Content} row
 */
function terms(view, name, count, heads, term, row) {
  const isCut = count > FEW && !view.listed.has(name);
  let order = Array.from({ length: count }, (_, i) => i);
  if (isCut) order = order.sort((i, j) => Math.abs(term(j)) - Math.abs(term(i))).slice(0, FEW);
  const toggle = () => {
    if (!view.listed.delete(name)) view.listed.add(name);
    view.show();
  };
  return html`<div data-sum=${name}>
    ${table(`The terms of the ${name}`, "terms", heads, order.map((i) => html`<tr>${row(i)}<td>${number("term", term(i))}</td></tr>`))}</div>
    ${count > FEW ? html`<p class="buttons">${button(isCut ? `All ${count} terms` : `The ${FEW} largest terms`, toggle)}</p>` : nothing}`;
}

/** @param {string} what @param {number} value @param {number} sum */
const onTape = (what, value, sum) => html`<p class="quiet">The library found ${number(what, value)}:
  ${sum === value ? "the same, to the last digit." : `${readable(sum - value)} apart, by rounding.`}</p>`;

/** @param {microscope.Weight} weight */
export function difference({ difference: d, gradient, isBias }) {
  const letter = isBias ? "b" : "w";
  const isCorner = Math.abs(d.off) > 1e-8 + 1e-4 * Math.abs(gradient);
  return section("difference", "Is it true? Nudge it and see", html`
    <p>The cost with a slightly larger and a slightly smaller ${isBias ? "bias" : "weight"}.
      ${explain("Change one weight a little and see how the cost changes: that is what a slope is. Backpropagation finds it without trying.",
        "why-it-is-fast", "the finite difference")}</p>
    <dl>
      <dt>h</dt><dd>${number("h", d.h)}</dd>
      <dt>C(${letter} + h)</dt><dd>${number("above", d.above, 12)}</dd>
      <dt>C(${letter} − h)</dt><dd>${number("below", d.below, 12)}</dd>
      <dt>difference / 2h</dt><dd class="total">${number("slope-measured", d.slope)}</dd>
      <dt>off by</dt><dd>${number("off", d.off)}</dd>
    </dl>
    ${isCorner ? html`<p>Left of ${letter} the slope is ${number("left", d.left)}, right of it ${number("right", d.right)}: a ReLU or a
      maximum has its corner here, and the equations give the slope of one side.</p>` : nothing}`);
}

/** @param {microscope.Weight} weight */
export function update({ update: { optimizer, rate, rule, after }, value, isBias }) {
  return section("update", "The step that it would take", html`
    <p class="quiet">${optimizer} at rate ${number("rate", rate)}, as the first step of a training, on this image alone. ${rule}
      ${explain("An optimizer moves each weight against its slope; most also divide by how large its slopes have been.", "optimizers", "the step")}</p>
    <p class="equation">${isBias ? "b" : "w"}: ${number("before", value)} → <b>${number("after", after)}</b></p>`);
}
