// @ts-check
// Attention: for each layer and head of a language model, which token of a text looks at which.

import { floats } from "../../parts/arrays.js";
import { bars, section } from "../../parts/elements.js";
import { toggle } from "../../parts/fields.js";
import { percent } from "../../parts/numbers.js";
import { signed } from "../../parts/pictures.js";
import { Question } from "../../parts/question.js";
import { html, nothing } from "../../parts/template.js";

export class Attention {
  /** @param {import("../inside.js").Inside} view */
  constructor(view) {
    this.view = view;
    this.question = new Question(view, "attention", () => ({ run: this.view.network.run, text: this.text() }));
    /** @type {inside.Patterns | null} */
    this.patterns = null;
  }

  open() {
    this.patterns = null;
    this.question.reset();
    this.question.ask();
  }

  text() {
    return this.view.get("text") || this.view.network.example;
  }

  /** @param {any} content @param {DataView} weights */
  take(content, weights) {
    this.patterns = { ...content, weights: floats(weights) };
  }

  /** @param {Record<string, Value>} state */
  set(state) {
    this.view.update(state);
    if ("text" in state) this.question.ask();
    this.view.show();
  }

  paint() {
    if (!this.patterns) return;
    const { weights, shape: [, , length] } = this.patterns;
    const size = length * length;
    this.view.canvases(".head canvas").forEach((canvas, i) =>
      signed(canvas, weights.subarray(i * size, (i + 1) * size), length, length, 1));
  }

  template() {
    return html`
      <p class="buttons"><label>Text <input .value=${this.text()} maxlength="2000"
        @change=${(e) => this.set({ text: e.target.value })}></label></p>
      ${this.patterns ? this.heads(this.patterns) : nothing}`;
  }

  /** @param {inside.Patterns} patterns */
  heads({ shape: [layers, heads, length], tokens, weights }) {
    const existing = (/** @type {number} */ i, /** @type {number} */ count) => (i < count ? i : 0);
    const [layer, head] = this.view.get("head").split(".").map(Number);
    const [chosenLayer, chosenHead] = [existing(layer, layers), existing(head, heads)];
    const chosen = this.view.get("token");
    const token = Number.isInteger(chosen) && chosen >= 0 && chosen < length ? chosen : length - 1;
    const row = ((chosenLayer * heads + chosenHead) * length + token) * length;
    const shown = tokens.map((text) => (text.trim() ? text : text === "\n" ? "↵" : "␣"));
    return html`
      <div class="columns">
        ${section("heads", "The heads", html`
          <p class="quiet">Each row is a token that looks, each column one that is looked at. Choose a head.</p>
          ${Array.from({ length: layers }, (_, l) => html`<h3>Layer ${l + 1}</h3><div class="row">
            ${Array.from({ length: heads }, (_, h) => html`<button class="head" aria-pressed=${l === chosenLayer && h === chosenHead}
              aria-label=${`layer ${l + 1}, head ${h + 1}`} @click=${() => this.set({ head: `${l}.${h}` })}><canvas></canvas></button>`)}
          </div>`)}`, [
          "Each head of a layer gives each token a mean of the tokens before it; a row of its picture holds the weights of that mean.",
          "attention",
        ])}
        ${section("token", `Layer ${chosenLayer + 1}, head ${chosenHead + 1}: what “${shown[token]}” looks at`, html`
          <div class="tokens" role="group" aria-label="Choose a token">
            ${shown.map((name, i) => toggle(name, i === token, () => this.set({ token: i })))}</div>
          ${bars("How much it looks at each token", Array.from(weights.subarray(row, row + token + 1),
            (value, i) => ({ name: shown[i], value, text: percent(value) })))}`)}
      </div>
      <p class="quiet">Its neurons see words: there is no picture of what they look for, no map of pixels, and no surgery.</p>`;
  }
}
