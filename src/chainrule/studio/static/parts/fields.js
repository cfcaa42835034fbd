// @ts-check
// Buttons and fields, with their labels.

import { html, nothing } from "./template.js";

/** @param {Content} label @param {() => void} act @param {boolean} [off] @param {string} [kind] */
export const button = (label, act, off = false, kind = "") =>
  html`<button class=${kind} ?disabled=${off} @click=${() => act()}>${label}</button>`;

/** A button that is pressed or not. @param {Content} label @param {boolean} isPressed @param {() => void} act @param {string} [name] for who hears the page */
export const toggle = (label, isPressed, act, name) =>
  html`<button aria-pressed=${isPressed} aria-label=${name ?? nothing} @click=${() => act()}>${label}</button>`;

/**
 * A choice. What is chosen is in it even if it is not among the values: an address may name anything.
 * @template {Value} T @param {string} label @param {T[]} values @param {T} chosen @param {(value: T) => void} choose
 * @param {{ title?: (value: T) => Content, name?: string }} [options]  how a value is called; the field's name
 */
export function select(label, values, chosen, choose, { title = String, name = "" } = {}) {
  const all = values.includes(chosen) || chosen === "" ? values : [...values, chosen];
  return html`<label>${label}
    <select name=${name} @change=${(e) => choose(all[e.target.selectedIndex])}>
      ${all.map((value) => html`<option value=${value} .selected=${value === chosen}>${title(value)}</option>`)}
    </select></label>`;
}

/**
 * A field for a number; a whole one is kept within its limits.
 * @param {Content} label @param {number | ""} value @param {(value: number) => void} use @param {NumberOptions} [options]
 */
export function numberField(label, value, use, { min = 0, max = Infinity, step = "1", hint = "", emptied, off = false, name = "" } = {}) {
  const take = (/** @type {HTMLInputElement} */ field) => {
    const typed = field.value === "" ? emptied ?? value : field.valueAsNumber;
    const next = step === "1" && typed !== "" ? Math.min(max, Math.max(min, Math.round(typed))) : typed;
    field.value = next === emptied ? "" : String(next);
    if (next !== "") use(next);
  };
  return html`<label>${label}
    <input type="number" name=${name} min=${min} max=${max === Infinity ? nothing : max} step=${step} placeholder=${hint} .value=${String(value)} ?disabled=${off}
      @change=${(e) => take(e.target)}></label>`;
}

/** @param {string} label @param {number} value @param {(value: number) => void} use @param {RangeOptions} options */
export const slider = (label, value, use, { min, max, step, text = String(value) }) => html`<label><span>${label} <output>${text}</output></span>
  <input type="range" min=${min} max=${max} step=${step} .value=${String(value)} @input=${(e) => use(e.target.valueAsNumber)}></label>`;
