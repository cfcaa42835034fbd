// @ts-check
// The picture that the network sees: which it is, what the network says, and which pixels decided.

import { html, nothing } from "../../vendor/lit-html.js";
import { figure } from "../../parts/chart.js";
import { explain } from "../../parts/explain.js";
import { gray, overlay } from "../../parts/pictures.js";
import { changed, option, percent } from "./fields.js";

/** @typedef {import("../inside.js").Inside} Inside */

const MAPS = { "": "no map", gradient: "gradient", integrated: "integrated gradients", occlusion: "occlusion" };
/** @type {Record<string, string>} */
const MEANINGS = {
  gradient: "Where a little more ink would raise the score (orange) or lower it (blue).",
  integrated: "How much each pixel adds to the score (orange) or takes from it (blue).",
  occlusion: "Where covering a square of 5×5 pixels makes it less probable (orange) or more (blue).",
};

/** @param {Inside} view */
export function pictureChoice(view) {
  const { network } = view;
  const next = (view.model.get("image") + 1) % network.count;
  return html`
    <label ?hidden=${view.drawing}>Test image
      <input type="number" min="0" max=${network.count - 1} .value=${String(view.model.get("image"))}
        @change=${changed((number) => view.set({ image: Math.trunc(Number(number)) || 0 }))}>
    </label>
    <button ?hidden=${view.drawing} @click=${() => view.set({ image: next })}>Next</button>
    ${network.drawable
      ? html`<button @click=${() => view.draw(!view.drawing)}>${view.drawing ? "Test images" : "Draw a digit"}</button>`
      : nothing}
    ${view.drawing
      ? html`<button @click=${() => view.pad.clear()}>Clear</button>
          <button @click=${() => view.download()}>Save</button>`
      : nothing}`;
}

/** @param {Inside} view */
export function pictureSection(view) {
  const { look, network } = view;
  return html`
    <section aria-labelledby="picture-title">
      <h2 id="picture-title">The picture</h2>
      ${view.drawing ? view.pad.template() : nothing}
      <canvas class="picture" role="img" aria-label="What the network sees" ?hidden=${!look}></canvas>
      <p class="answer" aria-live="polite">${look ? sentence(view) : view.drawing ? "Draw a digit." : "…"}</p>
      ${mapChoice(view)}
      <table class="bars">
        <caption class="spoken">The probability of each class</caption>
        <tbody>${network.classes.map((_, i) => html`
          <tr class=${look?.answer === i ? "best" : ""}>
            <th scope="row">${view.name(i)}</th>
            <td><meter min="0" max="1" .value=${look?.probabilities[i] ?? 0} aria-label=${view.name(i)}></meter></td>
            <td class="number">${look ? percent(look.probabilities[i]) : ""}</td>
          </tr>`)}</tbody>
      </table>
      <p class="quiet">${network.about}</p>
    </section>`;
}

/** @param {Inside} view */
export function paintPicture(view) {
  const canvas = /** @type {HTMLCanvasElement | null} */ (view.el.querySelector("canvas.picture"));
  if (!canvas || !view.look) return;
  const [height, width] = view.network.shape;
  if (view.map && view.model.get("map")) overlay(canvas, view.look.picture, view.map.pixels, width, height);
  else gray(canvas, view.look.picture, width, height);
}

/** @param {Inside} view @returns {string} */
function sentence(view) {
  const { look } = view;
  const right = look.label === null ? "" : look.label === look.answer ? ". Right." : `. It is ${view.name(look.label)}.`;
  return `${view.name(look.answer)}: ${percent(look.probabilities[look.answer])}${right}`;
}

/** @param {Inside} view */
function mapChoice(view) {
  const map = view.model.get("map");
  const of = view.model.get("of");
  return html`
    <p class="buttons"><label>Which pixels decided?
      <select @change=${changed((name) => view.set({ map: name }))}>
        ${Object.entries(MAPS).map(([name, label]) => option(name, label, map))}</select>
    </label>
    ${map ? html`<label>for
      <select aria-label="For which class" @change=${changed((value) => view.set({ of: value }))}>
        ${option("", "the answer", of)}
        ${view.chosen() ? option("neuron", "the chosen neuron", of) : nothing}
        ${view.network.classes.map((_, i) => option(String(i), view.name(i), of))}
      </select></label>` : nothing}
    ${explain(
      "The gradient is the chain rule, carried on to the pixels; occlusion covers a part of the picture and asks again.",
      "the-chain-rule", "the maps",
    )}</p>
    ${map ? html`<p class="quiet">${isHiddenNeurons(view) ? MEANINGS.gradient : MEANINGS[map]}
      ${view.map ? `Strongest: ${figure(view.map.largest)}.` : "…"}</p>` : nothing}`;
}

/** Whether the map is of a neuron of a hidden layer, of which there is a gradient only. @param {Inside} view */
function isHiddenNeurons(view) {
  const { layer } = view.subject();
  return layer !== undefined && layer < view.network.layers.length - 1;
}
