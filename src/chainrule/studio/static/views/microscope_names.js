// @ts-check
// The Microscope's words: how layers, neurons and weights are called.

import { unravel } from "../parts/numbers.js";

/** @param {microscope.Layer[]} layers @param {string} name */
export const layerOf = (layers, name) => /** @type {microscope.Layer} */ (layers.find((layer) => layer.name === name));

/** @param {microscope.Layer} layer */
export function title({ name, kind, mixes, weight: [out, into, ...taps] }) {
  return `${name}: ${kind}, ${mixes ? `${taps.length ? `${taps.join("×")}, ` : ""}${into} → ${out}` : `${out} channels`}`;
}

/** A value of a layer's output, without the layer. @param {microscope.Network} network @param {string} name @param {number[]} at @param {boolean} [isFull] */
export function placeOf({ layers, classes }, name, at, isFull = false) {
  const layer = layerOf(layers, name);
  if (layer.output.length > 1) return `${isFull ? `filter ${at[0]}, ` : ""}${spot(at.slice(1))}`;
  const isLast = !layers.slice(layers.indexOf(layer) + 1).some((each) => each.mixes);
  return isLast && layer.output[0] === classes.length ? `output “${classes[at[0]]}”` : `neuron ${at[0]}`;
}

/** @param {microscope.Network} network @param {string} name @param {number[]} at */
export function unitOf(network, name, at) {
  const place = placeOf(network, name, at);
  const { output, mixes } = layerOf(network.layers, name);
  if (output.length > 1) return `${mixes ? "filter" : "channel"} ${at[0]} of layer ${name}, at ${place}`;
  return place.startsWith("output") ? place : `${place} of layer ${name}`;
}

/** A weight in words: from where to where. @param {microscope.Network} network @param {{ layer: string, index: number[], isBias: boolean }} weight */
export function where(network, { layer: name, index, isBias }) {
  const { layers } = network;
  const layer = layerOf(layers, name);
  const unit = layer.weight.length === 2 ? unitOf(network, name, index) : `${layer.mixes ? "filter" : "channel"} ${index[0]} of layer ${name}`;
  if (isBias) return `bias of ${unit}`;
  if (!layer.mixes) return `of ${unit}`;
  const before = layers.slice(0, layers.indexOf(layer)).reverse().find((each) => each.mixes);
  const source = before ? ` of what comes from layer ${before.name}` : " of the image";
  if (layer.weight.length === 4) return `at ${spot(index.slice(2))} of ${unit}, for channel ${index[1]}${source}`;
  const from = unravel(index[1], layer.from);
  const place = from.length > 1 ? `${from.length > 2 ? `channel ${from[0]}, ` : before ? "" : "pixel "}${spot(from.slice(-2))}` : `${before ? "neuron" : "input"} ${from[0]}`;
  return `from ${place}${source} to ${unit}`;
}

/** @param {number[]} at */
export const spot = ([row, column]) => `row ${row}, column ${column}`;
