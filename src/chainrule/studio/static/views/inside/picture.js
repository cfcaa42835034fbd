// @ts-check
// The picture that the network sees: which it is, what the network says, and which pixels decided.

import { explain, probabilities, section } from "../../parts/elements.js";
import { button, numberField, select } from "../../parts/fields.js";
import { figure, percent } from "../../parts/numbers.js";
import { gray, overlay } from "../../parts/pictures.js";
import { html, nothing } from "../../parts/template.js";

/** @typedef {import("../inside.js").Inside} Inside */

/** @param {Inside} view */
export function pictureChoice(view) {
  const { count, drawable } = view.network;
  const image = view.get("image");
  return view.drawing ? button("Test images", () => view.draw(false)) : [
    numberField("Test image", image, (number) => view.set({ image: number }), { max: count - 1 }),
    button("Next", () => view.set({ image: (image + 1) % count })),
    drawable ? button("Draw a digit", () => view.draw(true)) : nothing,
  ];
}

/** @param {Inside} view */
export function pictureSection(view) {
  const { look, network } = view;
  return section("picture", "The picture", html`
    ${view.drawing ? view.pad.template() : nothing}
    <canvas class="picture seen" role="img" aria-label="What the network sees" ?hidden=${!look}></canvas>
    <p class="answer" aria-live="polite">${look ? sentence(view) : view.drawing ? "Draw a digit." : "…"}</p>
    ${mapChoice(view)}
    ${probabilities(network.classes.map((_, i) => view.name(i)), look?.probabilities, look && view.name(look.answer))}
    <p class="quiet">${network.about}</p>`);
}

/** @param {Inside} view */
export function paintPicture(view) {
  if (!view.look) return;
  const canvas = view.canvas("canvas.seen");
  const [height, width] = view.network.shape;
  if (view.map && view.get("map")) overlay(canvas, view.look.picture, view.map.pixels, width, height);
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
  const map = view.get("map");
  const { classes, layers, maps } = view.network;
  const [layer] = view.mapped() ?? [layers.length - 1];
  const isHidden = layer < layers.length - 1; // of its neurons there is a gradient only
  /** @type {Record<string, string>} */
  const owners = { "": "the answer", ...(view.chosen() ? { neuron: "the chosen neuron" } : {}) };
  return html`
    <p class="buttons">
      ${select("Which pixels decided?", ["", ...Object.keys(maps)], map, (name) => view.set({ map: name }),
        { title: (name) => maps[name]?.[0] ?? "no map" })}
      ${map ? select("For which class", [...Object.keys(owners), ...classes.map((_, i) => String(i))], view.get("of"),
        (of) => view.set({ of }), { title: (of) => owners[of] ?? view.name(Number(of)) }) : nothing}
      ${explain(
        "The gradient is the chain rule, carried on to the pixels; occlusion covers a part of the picture and asks again.",
        "the-chain-rule", "the maps",
      )}</p>
    ${map ? html`<p class="quiet">${maps[isHidden ? "gradient" : map]?.[1]}
      ${view.map ? `Strongest: ${figure(view.map.largest)}.` : "…"}</p>` : nothing}`;
}
