// @ts-check
// Next word: type a text, see which word a language model expects next, and where it looks.

import { html, nothing, render as put, svg } from "../vendor/lit-html.js";
import { floats } from "../parts/arrays.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";

const ROW = 32; // pixels, as in the style sheet
const SAY_AFTER = 700; // milliseconds without a new answer, before it is read aloud, or an error is shown
const EXAMPLES = [
  "I am going to the bank to deposit some",
  "She went to the bakery to buy some",
  "He sat on the bank of the",
];
/** @type {Record<string, string>} */
const NAMES = { shipped_words: "a small GPT that knows words", lesson: "the lesson's, without attention" };

export const defaults = { model: "", text: EXAMPLES[0], temperature: 1, seed: 0, layer: 1, head: 1, token: 0 };

/**
 * @typedef {object} Reading
 * @property {string} [error]
 * @property {string} about
 * @property {string} unit
 * @property {string[]} tokens
 * @property {number} unseen
 * @property {string[]} words
 * @property {string[]} pieces
 * @property {number[]} probabilities
 * @property {{ count: number, probability: number }} others
 * @property {number} choices
 * @property {string} continuation
 * @property {[number, number, number] | null} attention layers, heads, tokens
 * @property {Float32Array} weights
 * @property {string} code
 */

export default {
  /** @param {{ model: any, el: HTMLElement, signal: AbortSignal }} context */
  render({ model, el, signal }) {
    const view = new Words(model, el);
    signal.addEventListener("abort", () => clearTimeout(view.timer));
  },
};

class Words {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.el = el;
    /** @type {string[]} */
    this.models = [];
    this.chosen = "";
    /** @type {Reading | null} */
    this.reading = null;
    this.error = "";
    this.spoken = "";
    /** @type {string[]} */
    this.past = []; // texts before the present one
    this.number = 0; // of the newest question
    this.asked = 0; // of the question that is being answered; 0 for none
    this.timer = 0;
    model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => this.told(content, buffers));
    model.on("connected", () => this.start());
    for (const key of ["model", "text", "temperature", "seed"]) model.on(`change:${key}`, () => this.ask());
    for (const key of ["layer", "head", "token"]) model.on(`change:${key}`, () => this.show());
    this.show();
    this.start();
  }

  // What the server says

  start() {
    this.asked = 0;
    this.model.send({ ask: "models" });
  }

  /** Ask about the present text; while an answer is awaited, only the newest question is kept. */
  ask() {
    this.number += 1;
    this.send();
    this.show();
  }

  send() {
    if (this.asked || !this.chosen) return;
    this.asked = this.number;
    const [text, temperature, seed] = ["text", "temperature", "seed"].map((key) => this.model.get(key));
    this.model.send({ ask: "read", number: this.asked, model: this.name(), text, temperature, seed });
  }

  name() {
    return this.model.get("model") || this.chosen;
  }

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    if (content.tell === "models") {
      this.models = content.names;
      this.chosen = content.chosen;
      this.ask();
    } else if (content.tell === "reading" && content.number === this.asked) {
      this.asked = 0;
      if (content.number !== this.number) this.send();
      clearTimeout(this.timer);
      if (content.error) this.timer = setTimeout(() => this.fail(content.error), SAY_AFTER);
      else this.take({ ...content, weights: buffers.length ? floats(buffers[0]) : new Float32Array() });
    } else if (content.error) {
      this.asked = 0;
      this.fail(content.error);
    }
    this.show();
  }

  /** @param {Reading} reading */
  take(reading) {
    this.reading = reading;
    this.error = "";
    this.timer = setTimeout(() => {
      this.spoken = `Next: ${reading.words.slice(0, 3).map((word, i) => `${word} ${percent(reading.probabilities[i])}`).join(", ")}`;
      this.show();
    }, SAY_AFTER);
  }

  /** @param {string} sentence */
  fail(sentence) {
    this.reading = null;
    this.error = sentence;
    this.spoken = sentence;
    this.show();
  }

  // What the person does

  /** @param {Record<string, string | number>} values */
  change(values) {
    if ("text" in values && values.text !== this.model.get("text")) {
      this.past.push(this.model.get("text"));
      values.token = 0;
    }
    for (const [key, value] of Object.entries(values)) this.model.set(key, value);
    this.model.save_changes();
  }

  /** @param {string} piece */
  append(piece) {
    const text = this.model.get("text") + piece;
    if (piece && text.length <= 2000) this.change({ text });
  }

  /** Let the model choose one word: the first of what it would go on with. The next is another draw. */
  draw() {
    const { reading } = this;
    if (!reading || this.asked || !reading.continuation) return;
    const first = reading.unit === "character" ? /^./su : /^\s*(?:[^\s.,;:!?]+|[.,;:!?]|\n)/u;
    const piece = first.exec(reading.continuation)?.[0] ?? reading.continuation;
    const text = this.model.get("text") + piece;
    if (text.length <= 2000) this.change({ text, seed: this.model.get("seed") + 1 });
  }

  undo() {
    const text = this.past.pop();
    if (text === undefined) return;
    this.change({ text });
    this.past.pop();
  }

  /** @param {KeyboardEvent} event */
  typed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.draw();
  }

  /** Move the focus among the buttons of a list by the arrow keys. @param {KeyboardEvent} event */
  arrow(event) {
    const list = /** @type {HTMLElement} */ (event.currentTarget);
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    /** @type {Record<string, number>} */
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
    if (at < 0 || !(event.key in moves)) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, moves[event.key]))].focus();
  }

  // What is shown

  show() {
    put(this.template(), this.el);
    this.el.toggleAttribute("data-is-settled", Boolean(this.reading || this.error) && !this.asked);
  }

  template() {
    const { reading } = this;
    return html`
      <p class="lead">Type the beginning of a sentence. The bars show which word the network expects next: choose one, or
        let it choose.</p>
      <p class="spoken" aria-live="polite">${this.spoken}</p>
      <div class="columns">
        <section aria-label="The text">${this.text()}</section>
        <section aria-labelledby="next-title">
          <h2 id="next-title">The next ${this.noun()}</h2>
          ${this.error ? html`<p class="error notice">${this.error}</p>` : nothing}
          ${reading ? this.next(reading) : nothing}
        </section>
      </div>
      <section aria-label="Settings">${this.settings()}</section>
      ${reading ? html`
        <section aria-label="Attention">
          <h2>Where it looks
            ${explain("To predict the next word, each word looks back at those before it and takes something from each: its attention, which adds up to 100%.", "attention", "attention")}</h2>
          ${reading.attention ? this.wires(reading) : html`<p>This model has no attention, so there are no wires to show. The
            small GPT has some.</p>`}
        </section>
        ${code(reading.code)}` : nothing}`;
  }

  text() {
    const { reading } = this;
    return html`
      <label>Text
        <textarea class="text" maxlength="2000" spellcheck="false" autocapitalize="off" .value=${this.model.get("text")}
          @input=${(/** @type {any} */ e) => this.change({ text: e.target.value })}
          @keydown=${(/** @type {KeyboardEvent} */ e) => this.typed(e)}></textarea>
      </label>
      <p class="buttons">
        <button class="draw primary" @click=${() => this.draw()} ?disabled=${!reading}>Let it choose a ${this.noun()}</button>
        <button @click=${() => this.undo()} ?disabled=${!this.past.length}>Undo</button>
      </p>
      <p class="continuation"><b>How it might go on:</b> <span>${reading ? reading.continuation.replaceAll("\n", " ↵ ") : "…"}</span></p>
      <p class="buttons">
        <button class="again" @click=${() => this.change({ seed: this.model.get("seed") + 1 })} ?disabled=${!reading}>Another way</button>
        <button class="write" @click=${() => this.append(reading?.continuation ?? "")} ?disabled=${!reading}>Write that</button>
      </p>
      ${this.noun() === "word" ? html`
        <p class="examples buttons" role="group" aria-label="Beginnings to try">
          Or begin with: ${EXAMPLES.map((example) => html`<button @click=${() => this.change({ text: example })}>${example} …</button>`)}
        </p>` : nothing}`;
  }

  settings() {
    const get = (/** @type {string} */ key) => this.model.get(key);
    return html`
      <div class="settings">
        <div><label>Temperature <output>${get("temperature").toFixed(1)}</output>
          <input type="range" min="0" max="2" step="0.1" .value=${String(get("temperature"))}
            @input=${(/** @type {any} */ e) => this.change({ temperature: Number(e.target.value) })}></label>
          ${explain("At 1 the bars are what the network computed. Below 1 likely words become likelier, at 0 it takes the likeliest; above 1 it dares more.", "the-next-word", "temperature")}</div>
        <div><label>Seed
          <input type="number" min="0" max="4294967295" step="1" .value=${String(get("seed"))}
            @change=${(/** @type {any} */ e) => this.reseed(e.target)}></label>
          ${explain("What is drawn at random begins with this number: the same seed goes on with the same words.", "the-next-word", "the seed")}</div>
        <div><label>Model
          <select class="model" @change=${(/** @type {any} */ e) => this.choose(e.target.value)}>
            ${this.names().map((name) => html`<option value=${name} ?selected=${name === this.name()}>${NAMES[name] ?? name}</option>`)}
          </select></label>
          ${explain(this.reading?.about ?? "The language models that there are: one in the package, one of a lesson, and your own runs.", "a-small-gpt", "the model")}</div>
      </div>
      <p class="quiet">In the studio, models that you train are in the list, too: <code>chainrule train --model gpt --data names</code>.</p>
      <p class="quiet keys">By keyboard: Enter in the text lets it choose; arrows move along the bars and the words, Enter takes one.</p>`;
  }

  /** Take another model; one of the reader's own may know neither these words nor these characters. @param {string} model */
  choose(model) {
    this.change({ model, layer: 1, head: 1, token: 0, text: model in NAMES ? this.model.get("text") || EXAMPLES[0] : "" });
  }

  /** What a token is. */
  noun() {
    if (!this.reading) return "word";
    return this.reading.unit in { word: 1, character: 1 } ? this.reading.unit : "piece";
  }

  /** The models, with one that the address names. */
  names() {
    return this.models.includes(this.name()) || !this.name() ? this.models : [...this.models, this.name()];
  }

  /** @param {HTMLInputElement} input */
  reseed(input) {
    const seed = Math.min(2 ** 32 - 1, Math.max(0, Math.round(Number(input.value) || 0)));
    input.value = String(seed);
    this.change({ seed });
  }

  /** @param {Reading} reading */
  next(reading) {
    const { words, probabilities, others } = reading;
    const name = (/** @type {string} */ word, /** @type {number} */ share) => html`
      <span class="name">${word}</span>
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect height="10" width=${100 * share}></rect></svg>
      <span class="share">${percent(share)}</span>`;
    return html`
      <p class="answer">${words[0]} ${percent(probabilities[0])}</p>
      <p class="quiet">That is as uncertain as ${reading.choices.toFixed(1)} equally likely ${this.noun()}s.
        ${explain("The network gives each word a score, and softmax turns the scores into probabilities that add up to 100%.", "the-next-word", "the bars")}</p>
      <ol class="next" @keydown=${(/** @type {KeyboardEvent} */ e) => this.arrow(e)}>
        ${words.map((word, i) => html`
          <li><button tabindex=${i ? -1 : 0} ?disabled=${!reading.pieces[i]} @click=${() => this.append(reading.pieces[i])}>
            ${name(word, probabilities[i])}</button></li>`)}
        <li class="others"><div>${name(`the ${others.count.toLocaleString("en")} others`, others.probability)}</div></li>
      </ol>`;
  }

  /** @param {Reading} reading */
  wires(reading) {
    const [layers, heads, length] = /** @type {[number, number, number]} */ (reading.attention);
    const layer = within(this.model.get("layer"), layers);
    const head = within(this.model.get("head"), heads);
    const token = within(this.model.get("token") || length, length) - 1;
    const start = ((layer - 1) * heads + head - 1) * length * length;
    const row = (/** @type {number} */ i) => reading.weights.subarray(start + i * length, start + (i + 1) * length);
    const shares = row(token);
    const strongest = shares.indexOf(Math.max(...shares));
    const earlier = 1 - shares.reduce((sum, share) => sum + share, 0);
    const select = (/** @type {string} */ key, /** @type {string} */ title, /** @type {number} */ count, /** @type {number} */ value) => html`
      <label>${title}
        <select class=${key} @change=${(/** @type {any} */ e) => this.change({ [key]: Number(e.target.value) })}>
          ${Array.from({ length: count }, (_, i) => html`<option value=${i + 1} ?selected=${i + 1 === value}>${i + 1} of ${count}</option>`)}
        </select></label>`;
    return html`
      <div class="settings">
        ${select("layer", "Layer", layers, layer)}
        <div>${select("head", "Head", heads, head)}
          ${explain("Each layer looks again, at what the one before it has made of the words; its heads look side by side, each in its own way.", "a-small-gpt", "layers and heads")}</div>
      </div>
      <p class="quiet">Choose a ${this.noun()} on the left: the lines show how it divides its attention.
        ${reading.unseen ? `Not shown: ${reading.unseen} before them.` : ""}</p>
      <div class="wires">
        <ol aria-label="The word that looks" @keydown=${(/** @type {KeyboardEvent} */ e) => this.arrow(e)}>
          ${reading.tokens.map((word, i) => html`
            <li><button tabindex=${i === token ? 0 : -1} aria-pressed=${i === token} @click=${() => this.look(i, length)}
              @focus=${() => this.look(i, length)} @pointerenter=${() => this.look(i, length)}>${word}</button></li>`)}
        </ol>
        <svg viewBox=${`0 0 100 ${ROW * length}`} height=${ROW * length} preserveAspectRatio="none" aria-hidden="true">
          ${reading.tokens.map((_, i) => [...row(i).subarray(0, i + 1)].map((share, j) => (i !== token && share < 0.02 ? nothing : svg`
            <line class=${i === token ? "chosen" : ""} x1="0" x2="100" y1=${(i + 0.5) * ROW} y2=${(j + 0.5) * ROW}
              stroke-width=${i === token ? 1 + 7 * share : 1} stroke-opacity=${i === token ? 0.25 + 0.75 * share : 0.15 + 0.6 * share}
              vector-effect="non-scaling-stroke"></line>`)))}
        </svg>
        <ol aria-label=${`What ${reading.tokens[token]} looks at`}>
          ${reading.tokens.map((word, j) => html`
            <li class=${j === strongest ? "strongest" : ""}><span>${word}</span>
              <span class="share">${j <= token ? percent(shares[j]) : html`<span aria-label="later, it cannot look there">–</span>`}</span></li>`)}
        </ol>
      </div>
      ${earlier > 0.001 && reading.unseen ? html`<p class="quiet">${percent(earlier)} of it goes to what is not shown.</p>` : nothing}`;
  }

  /** @param {number} i @param {number} length */
  look(i, length) {
    this.change({ token: i === length - 1 ? 0 : i + 1 });
  }
}

/** @param {number} value @param {number} most */
const within = (value, most) => Math.min(most, Math.max(1, Math.round(value) || 1));

/** @param {number} value */
const percent = (value) => `${(100 * value).toFixed(1)}%`;
