// @ts-check
// Numbers to read, with all their digits behind them; and positions in arrays.

import { html } from "./template.js";

/** A number with four digits; the element's value has all of them. @param {string} what @param {number} value @param {number} [digits] */
export function number(what, value, digits = 4) {
  return html`<data data-what=${what} value=${String(value)} title=${String(value)}>${readable(value, digits)}</data>`;
}

/** A number as short as it can be read. @param {number} value @returns {string} */
export function figure(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e5 || (size && size < 1e-3)) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

/** @param {number | null | undefined} value of 1 @param {number} [digits] */
export const percent = (value, digits = 1) => (value == null ? "–" : `${(100 * value).toFixed(digits)}%`);

/** A whole number, such as 1,000. @param {number} value */
export const thousands = (value) => value.toLocaleString("en");

/** @param {number} value @param {number} least @param {number} most */
export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/** A number in mathematical notation. @param {number} value @param {number} [digits] @returns {string} */
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
