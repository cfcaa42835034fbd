// @ts-check
// Numbers to read, with all their digits behind them; and positions in arrays.

import { html } from "../vendor/lit-html.js";

/** A number with four digits; the element's value has all of them. @param {string} what @param {number} value @param {number} [digits] */
export function number(what, value, digits = 4) {
  return html`<data data-what=${what} value=${String(value)} title=${String(value)}>${readable(value, digits)}</data>`;
}

/** @param {number} value @param {number} [digits] @returns {string} */
export function readable(value, digits = 4) {
  const size = Math.abs(value);
  if (!size || (size >= 1e-3 && size < 1e6)) return String(Number(value.toPrecision(digits))).replace("-", "−");
  const [figures, power] = value.toExponential(digits - 1).split("e");
  const raised = [...String(Number(power))].map((each) => (each === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(each)])).join("");
  return `${Number(figures)}·10${raised}`.replace("-", "−");
}

/** The position in an array's values of an index. @param {number[]} at @param {number[]} shape */
export const ravel = (at, shape) => at.reduce((sum, i, axis) => sum * shape[axis] + i, 0);

/** The index of a position. @param {number} position @param {number[]} shape */
export function unravel(position, shape) {
  /** @type {number[]} */
  const at = [];
  for (const size of [...shape].reverse()) {
    at.unshift(position % size);
    position = Math.floor(position / size);
  }
  return at;
}

/** Rows and columns for so many numbers. @param {number} count @returns {[number, number]} */
export function grid(count) {
  const side = Math.sqrt(count);
  if (Number.isInteger(side)) return [side, side];
  const columns = Math.ceil(Math.sqrt(2 * count));
  return [Math.ceil(count / columns), columns];
}
