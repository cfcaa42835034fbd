// @ts-check
// Attention: for each layer and head of a language model, which token of a text looks at which.

import { html, nothing } from "../../vendor/lit-html.js";
import { floats } from "../../parts/arrays.js";
import { explain } from "../../parts/explain.js";
import { signed } from "../../parts/pictures.js";
import { Question } from "./question.js";

export class Attention {
  /** @param {any} model @param {(state: object) => void} update @param {() => void} show */
  constructor(model, update, show) {
    this.model = model;
    this.update = update;
    this.show = show;
    this.question = new Question(model, "attention");
    /** @type {any} */
    this.network = null;
    /** @type {any} */
    this.patterns = null;
  }

  /** @param {any} network */
  open(network) {
    this.network = network;
    this.patterns = null;
    this.question.reset();
    this.ask();
  }

  ask() {
    this.question.ask({ run: this.network.run, text: this.text() });
  }

  text() {
    return this.model.get("text") || this.network.example;
  }

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    if (this.question.answered(content)) this.patterns = { ...content, weights: floats(buffers[0]) };
  }

  /** @param {string} key @param {any} value */
  set(key, value) {
    this.update({ [key]: value });
    if (key === "text") this.ask();
    this.show();
  }

  /** The chosen layer, head and token, as far as there are. */
  chosen() {
    const [layers, heads, length] = this.patterns.shape;
    const [layer, head] = this.model.get("head").split(".").map(Number);
    const token = this.model.get("token");
    return [layer < layers ? layer : 0, head < heads ? head : 0, Number.isInteger(token) && token >= 0 && token < length ? token : length - 1];
  }

  /** @param {HTMLElement} el */
  paint(el) {
    if (!this.patterns) return;
    const length = this.patterns.shape[2];
    const size = length * length;
    el.querySelectorAll(".head canvas").forEach((canvas, i) =>
      signed(/** @type {HTMLCanvasElement} */ (canvas), this.patterns.weights.subarray(i * size, (i + 1) * size), length, length, 1));
  }

  template() {
    return html`
      <p class="buttons"><label>Text <input .value=${this.text()} maxlength="2000"
        @change=${(/** @type {any} */ e) => this.set("text", e.target.value)}></label></p>
      ${this.patterns ? this.heads() : nothing}`;
  }

  heads() {
    const [layers, heads, length] = this.patterns.shape;
    const [layer, head, token] = this.chosen();
    const { tokens } = this.patterns;
    const row = ((layer * heads + head) * length + token) * length;
    const weights = this.patterns.weights.subarray(row, row + token + 1);
    const shown = (/** @type {number} */ i) => (tokens[i].trim() ? tokens[i] : tokens[i] === "\n" ? "↵" : "␣");
    return html`
      <div class="columns">
        <section aria-labelledby="heads-title">
          <h2 id="heads-title">The heads ${explain(
            "Each head of a layer gives each token a mean of the tokens before it; a row of its picture holds the weights of that mean.",
            "attention", "the heads",
          )}</h2>
          <p class="quiet">Each row is a token that looks, each column one that is looked at. Choose a head.</p>
          ${Array.from({ length: layers }, (_, l) => html`<h3>Layer ${l + 1}</h3><div class="row">
            ${Array.from({ length: heads }, (_, h) => html`<button class="head" aria-pressed=${String(l === layer && h === head)}
              aria-label=${`layer ${l + 1}, head ${h + 1}`} @click=${() => this.set("head", `${l}.${h}`)}><canvas></canvas></button>`)}
          </div>`)}
        </section>
        <section aria-labelledby="token-title">
          <h2 id="token-title">Layer ${layer + 1}, head ${head + 1}: what “${shown(token)}” looks at</h2>
          <div class="tokens" role="group" aria-label="Choose a token">${tokens.map((/** @type {string} */ _, /** @type {number} */ i) => html`
            <button aria-pressed=${String(i === token)} @click=${() => this.set("token", i)}>${shown(i)}</button>`)}</div>
          <table class="bars"><caption class="spoken">How much it looks at each token</caption><tbody>
            ${Array.from(weights, (weight, i) => html`<tr><th scope="row">${shown(i)}</th>
              <td><meter min="0" max="1" .value=${weight} aria-label=${shown(i)}></meter></td>
              <td class="number">${(100 * weight).toFixed(1)}%</td></tr>`)}
          </tbody></table>
        </section>
      </div>
      <p class="quiet">Its neurons see words: there is no picture of what they look for, no map of pixels, and no surgery.</p>`;
  }
}
