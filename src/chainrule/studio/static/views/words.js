// @ts-check
// Next word: type a text, see which word a language model expects next, and where it looks.

import { floats } from "../parts/arrays.js";
import { code, explain, nameOf, section, spoken } from "../parts/elements.js";
import { button, numberField, select, slider } from "../parts/fields.js";
import { moved } from "../parts/keys.js";
import { clamp, percent, thousands } from "../parts/numbers.js";
import { Question } from "../parts/question.js";
import { html, nothing, svg } from "../parts/template.js";
import { View, module } from "../parts/view.js";

const ROW = 32; // pixels, as in the style sheet
const FAIL_AFTER = 700; // milliseconds without a new answer, before an error is shown: the text is being typed
const LONGEST = 2000; // characters of a text
const EXAMPLES = [
  "I am going to the bank to deposit some",
  "She went to the bakery to buy some",
  "He sat on the bank of the",
];
const PACKAGED = ["shipped_words", "lesson"]; // the models that know the words of the examples

export const defaults = { model: "", text: EXAMPLES[0], temperature: 1, seed: 0, layer: 1, head: 1, token: 0 };

class Words extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    /** @type {string[]} */
    this.models = [];
    this.chosen = "";
    /** @type {words.Reading | null} */
    this.reading = null;
    /** @type {string[]} */
    this.past = []; // texts before the present one
    this.question = new Question(this, "read", () => ({
      model: this.name(), text: this.get("text"), temperature: this.get("temperature"), seed: this.get("seed"),
    }));
    this.listen({
      models: ({ names, chosen }) => {
        [this.models, this.chosen] = [names, chosen];
        this.ask();
      },
      reading: (reading, [weights]) => {
        if (!this.question.answered(reading)) return;
        if (reading.error) this.later("say", FAIL_AFTER, () => this.fail(reading.error));
        else this.take({ ...reading, weights: weights ? floats(weights) : new Float32Array() });
      },
      error: ({ error }) => {
        this.question.reset();
        this.fail(error);
      },
    }, () => this.begin());
    for (const key of ["model", "text", "temperature", "seed"]) this.model.on(`change:${key}`, () => this.ask());
    for (const key of ["layer", "head", "token"]) this.model.on(`change:${key}`, () => this.show());
    this.show();
    this.begin();
  }

  begin() {
    this.question.reset();
    this.send("models");
  }

  ask() {
    if (this.chosen) this.question.ask();
    this.show();
  }

  name() {
    return this.get("model") || this.chosen;
  }

  /** @param {words.Reading} reading */
  take(reading) {
    this.reading = reading;
    this.error = "";
    this.say(() => `Next: ${reading.words.slice(0, 3).map((word, i) => `${word} ${percent(reading.probabilities[i])}`).join(", ")}`);
  }

  /** @param {string} sentence */
  fail(sentence) {
    this.reading = null;
    this.error = this.spoken = sentence;
    this.show();
  }

  // What the person does

  /** @param {Record<string, string | number>} values */
  change(values) {
    if ("text" in values && values.text !== this.get("text")) {
      this.past.push(this.get("text"));
      values.token = 0;
    }
    this.update(values);
  }

  /** @param {string} piece @param {Record<string, number>} [more] */
  append(piece, more) {
    const text = this.get("text") + piece;
    if (piece && text.length <= LONGEST) this.change({ text, ...more });
  }

  /** Let the model choose one word: the first of what it would go on with. The next is another draw. */
  draw() {
    const { reading } = this;
    if (!reading || this.question.isBusy) return;
    const first = reading.unit === "character" ? /^./su : /^\s*(?:[^\s.,;:!?]+|[.,;:!?]|\n)/u;
    this.append(first.exec(reading.continuation)?.[0] ?? reading.continuation, { seed: this.get("seed") + 1 });
  }

  undo() {
    const text = /** @type {string} */ (this.past.pop());
    this.change({ text });
    this.past.pop();
  }

  /** @param {KeyboardEvent} event */
  typed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.draw();
  }

  /** Move the focus among the buttons of a list by the arrow keys. @param {any} event */
  arrow(event) {
    const buttons = [...event.currentTarget.querySelectorAll("button")];
    const to = moved(event, buttons.indexOf(event.target), buttons.length);
    if (to !== null) buttons[to].focus();
  }

  /** Take another model; one of the reader's own may know neither these words nor these characters. @param {string} model */
  choose(model) {
    this.change({ model, layer: 1, head: 1, token: 0, text: PACKAGED.includes(model) ? this.get("text") || EXAMPLES[0] : "" });
  }

  /** @param {number} i @param {number} length */
  look(i, length) {
    this.change({ token: i === length - 1 ? 0 : i + 1 });
  }

  // What is shown

  isSettled() {
    return Boolean(this.reading || this.error) && !this.question.isBusy;
  }

  /** What a token is. */
  noun() {
    if (!this.reading) return "word";
    return this.reading.unit in { word: 1, character: 1 } ? this.reading.unit : "piece";
  }

  template() {
    const { reading } = this;
    return html`
      <p class="lead">Type the beginning of a sentence. The bars show which word the network expects next: choose one, or
        let it choose.</p>
      ${spoken(this.spoken)}
      <div class="columns">
        <section aria-label="The text">${this.text()}</section>
        ${section("next", `The next ${this.noun()}`, html`
          ${this.error ? html`<p class="notice error">${this.error}</p>` : nothing}
          ${reading ? this.next(reading) : nothing}`)}
      </div>
      <section aria-label="Settings">${this.settings()}</section>
      ${reading ? html`
        ${section("looks", "Where it looks", reading.attention ? this.wires(reading) : html`<p>This model has no attention,
          so there are no wires to show. The small GPT has some.</p>`, [
          "To predict the next word, each word looks back at those before it and takes something from each: its attention, which adds up to 100%.",
          "attention",
        ])}
        ${code(reading.code)}` : nothing}`;
  }

  text() {
    const { reading } = this;
    return html`
      <label>Text
        <textarea class="text" maxlength=${LONGEST} spellcheck="false" autocapitalize="off" .value=${this.get("text")}
          @input=${(e) => this.change({ text: e.target.value })} @keydown=${(e) => this.typed(e)}></textarea>
      </label>
      <p class="buttons">
        ${button(`Let it choose a ${this.noun()}`, () => this.draw(), !reading, "primary")}
        ${button("Undo", () => this.undo(), !this.past.length)}
      </p>
      <p class="continuation"><b>How it might go on:</b> <span>${reading ? reading.continuation.replaceAll("\n", " ↵ ") : "…"}</span></p>
      <p class="buttons">
        ${button("Another way", () => this.change({ seed: this.get("seed") + 1 }), !reading)}
        ${button("Write that", () => this.append(reading?.continuation ?? ""), !reading)}
      </p>
      ${this.noun() === "word" ? html`
        <p class="examples buttons" role="group" aria-label="Beginnings to try">
          Or begin with: ${EXAMPLES.map((text) => button(`${text} …`, () => this.change({ text })))}
        </p>` : nothing}`;
  }

  settings() {
    const temperature = this.get("temperature");
    return html`
      <div class="fields">
        <div>${slider("Temperature", temperature, (value) => this.change({ temperature: value }),
            { min: 0, max: 2, step: 0.1, text: temperature.toFixed(1) })}
          ${explain("At 1 the bars are what the network computed. Below 1 likely words become likelier, at 0 it takes the likeliest; above 1 it dares more.", "the-next-word", "temperature")}</div>
        <div>${numberField("Seed", this.get("seed"), (seed) => this.change({ seed }), { max: 2 ** 32 - 1 })}
          ${explain("What is drawn at random begins with this number: the same seed goes on with the same words.", "the-next-word", "the seed")}</div>
        <div>${select("Model", this.models, this.name(), (name) => this.choose(name),
            { title: nameOf, name: "model" })}
          ${explain(this.reading?.about ?? "The language models that there are: one in the package, one of a lesson, and your own runs.", "a-small-gpt", "the model")}</div>
      </div>
      <p class="quiet">In the studio, models that you train are in the list, too: <code>chainrule train --model gpt --data names</code>.</p>
      <p class="quiet keys">By keyboard: Enter in the text lets it choose; arrows move along the bars and the words, Enter takes one.</p>`;
  }

  /** @param {words.Reading} reading */
  next({ words, pieces, probabilities, others, choices }) {
    const bar = (/** @type {string} */ word, /** @type {number} */ share) => html`
      <span class="name">${word}</span>
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect height="10" width=${100 * share}></rect></svg>
      <span class="share">${percent(share)}</span>`;
    return html`
      <p class="answer">${words[0]} ${percent(probabilities[0])}</p>
      <p class="quiet">That is as uncertain as ${choices.toFixed(1)} equally likely ${this.noun()}s.
        ${explain("The network gives each word a score, and softmax turns the scores into probabilities that add up to 100%.", "the-next-word", "the bars")}</p>
      <ol class="next" @keydown=${(e) => this.arrow(e)}>
        ${words.map((word, i) => html`
          <li><button tabindex=${i ? -1 : 0} ?disabled=${!pieces[i]} @click=${() => this.append(pieces[i])}>
            ${bar(word, probabilities[i])}</button></li>`)}
        <li class="others"><div>${bar(`the ${thousands(others.count)} others`, others.probability)}</div></li>
      </ol>`;
  }

  /** @param {words.Reading} reading */
  wires({ attention, weights, tokens, unseen }) {
    const [layers, heads, length] = /** @type {[number, number, number]} */ (attention);
    const layer = within(this.get("layer"), layers);
    const head = within(this.get("head"), heads);
    const token = within(this.get("token") || length, length) - 1;
    const start = ((layer - 1) * heads + head - 1) * length * length;
    const row = (/** @type {number} */ i) => weights.subarray(start + i * length, start + (i + 1) * length);
    const shares = row(token);
    const strongest = shares.indexOf(Math.max(...shares));
    const earlier = 1 - shares.reduce((sum, share) => sum + share, 0);
    const choice = (/** @type {string} */ key, /** @type {string} */ title, /** @type {number} */ count, /** @type {number} */ chosen) =>
      select(title, Array.from({ length: count }, (_, i) => i + 1), chosen, (value) => this.change({ [key]: value }),
        { title: (value) => `${value} of ${count}`, name: key });
    return html`
      <div class="fields">
        ${choice("layer", "Layer", layers, layer)}
        <div>${choice("head", "Head", heads, head)}
          ${explain("Each layer looks again, at what the one before it has made of the words; its heads look side by side, each in its own way.", "a-small-gpt", "layers and heads")}</div>
      </div>
      <p class="quiet">Choose a ${this.noun()} on the left: the lines show how it divides its attention.
        ${unseen ? `Not shown: ${unseen} before them.` : ""}</p>
      <div class="wires">
        <ol aria-label="The word that looks" @keydown=${(e) => this.arrow(e)}>
          ${tokens.map((word, i) => html`
            <li><button tabindex=${i === token ? 0 : -1} aria-pressed=${i === token} @click=${() => this.look(i, length)}
              @focus=${() => this.look(i, length)} @pointerenter=${() => this.look(i, length)}>${word}</button></li>`)}
        </ol>
        <svg viewBox=${`0 0 100 ${ROW * length}`} height=${ROW * length} preserveAspectRatio="none" aria-hidden="true">
          ${tokens.map((_, i) => [...row(i).subarray(0, i + 1)].map((share, j) => (i !== token && share < 0.02 ? nothing : svg`
            <line class=${i === token ? "chosen" : ""} x1="0" x2="100" y1=${(i + 0.5) * ROW} y2=${(j + 0.5) * ROW}
              stroke-width=${i === token ? 1 + 7 * share : 1} stroke-opacity=${i === token ? 0.25 + 0.75 * share : 0.15 + 0.6 * share}
              vector-effect="non-scaling-stroke"></line>`)))}
        </svg>
        <ol aria-label=${`What ${tokens[token]} looks at`}>
          ${tokens.map((word, j) => html`
            <li class=${j === strongest ? "strongest" : ""}><span>${word}</span>
              <span class="share">${j <= token ? percent(shares[j]) : html`<span aria-label="later, it cannot look there">–</span>`}</span></li>`)}
        </ol>
      </div>
      ${earlier > 0.001 && unseen ? html`<p class="quiet">${percent(earlier)} of it goes to what is not shown.</p>` : nothing}`;
  }
}

/** @param {number} value @param {number} most */
const within = (value, most) => clamp(Math.round(value) || 1, 1, most);

export default module(Words);
