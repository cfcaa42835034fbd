// @ts-check
// Fields of forms, and how numbers are written.

import { html } from "../../vendor/lit-html.js";

/** A listener to a field. @param {(value: string) => void} use */
export const changed = (use) => (/** @type {any} */ event) => use(event.target.value);

/** @param {string} value @param {string} label @param {string} chosen */
export const option = (value, label, chosen) => html`<option value=${value} .selected=${value === chosen}>${label}</option>`;

/** @param {number} value @param {number} [digits] */
export const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}%`;
