// @ts-check
// Time machine: a run at any of its steps, computed again; forks, and races.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { bytes, doubles, floats } from "../parts/arrays.js";
import { chart, figure } from "../parts/chart.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import { Pad } from "../parts/pad.js";
import { gray, signed } from "../parts/pictures.js";
import { decode, encode } from "../parts/strokes.js";
import { Race } from "./time_race.js";

const PAUSE = 60; // milliseconds between two requests while the slider moves
const MEASURE_AFTER = 150; // milliseconds at a step, before its accuracy is measured
const SAY_AFTER = 700; // and before it is read aloud
const ASK_PROGRESS = 300; // milliseconds between two looks at a long replay
const PLAYS = 100; // steps of a whole run that is played
/** @type {Record<string, string>} */
const KINDS = { neurons: "neurons", filters: "filters", matrix: "rows" };

export const defaults = { run: "", step: -1, image: 0, strokes: "", forks: "" };

export default {
  /** @param {{ model: any, el: HTMLElement }} context */
  render({ model, el }) {
    const view = new TimeMachine(model, el);
    return () => view.leave();
  },
};

class TimeMachine {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.page = Math.floor(Math.random() * 2 ** 31); // whose requests are whose
    this.number = 0; // of the newest request
    /** @type {string[] | null} */
    this.runs = null;
    /** @type {any} */
    this.run = null; // what is open
    /** @type {any} */
    this.moment = null; // what is shown
    /** @type {any} */
    this.metrics = null;
    /** @type {{ values: Uint8Array, label: string | null } | null} */
    this.image = null; // what the network looks at
    this.error = "";
    this.notes = "";
    this.spoken = "";
    this.here = 0; // where a long replay is
    this.isWaiting = false;
    this.isPlaying = false;
    this.stride = 1;
    this.timers = { ask: 0, measure: 0, say: 0, progress: 0 };
    this.pad = new Pad(decode(model.get("strokes")), { changed: (finished) => this.drawn(finished) });
    this.race = new Race(this);
    model.set("image", Math.round(model.get("image")) % 1e6); // an address may have anything
    model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => this.told(content, buffers));
    model.on("connected", () => {
      this.endWaiting();
      this.begin();
    });
    this.show();
    this.begin();
  }

  leave() {
    this.isPlaying = false;
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.model = { ...this.model, get: () => "", set() {}, save_changes() {}, send() {} };
  }

  begin() {
    this.model.send({ ask: "runs" });
  }

  get step() {
    const step = this.model.get("step");
    return this.run ? Math.min(Math.max(Math.round(step), -1), this.run.last) : step;
  }

  // What the server says

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    const { tell } = content;
    if (tell === "runs") this.takeRuns(content.runs);
    else if (tell === "opened" && content.run === this.model.get("run")) this.takeRun(content, buffers);
    else if (tell === "image" || tell === "picture") this.takeImage(content, buffers);
    else if (tell === "step" && content.number === this.number) this.takeStep(content, buffers);
    else if (tell === "metrics" && content.number === this.number) {
      this.metrics = content.metrics ?? null;
      if (content.error) this.error = content.error;
    } else if (tell === "progress" && this.isWaiting) this.here = content.step;
    else if (["forked", "gone on", "lane", "stopped"].includes(tell)) this.race.told(content, buffers);
    else if (!tell && content.error) {
      this.error = content.error;
      this.endWaiting();
    }
    this.show();
  }

  /** @param {string[]} runs */
  takeRuns(runs) {
    this.runs = runs;
    if (!this.model.get("run") && runs.length) this.model.set("run", runs[0]);
    if (this.model.get("run")) this.open(this.model.get("run"), this.model.get("step"));
    this.race.begin();
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeRun(content, buffers) {
    if (content.error) {
      this.run = this.moment = this.metrics = null;
      this.error = content.error;
      return;
    }
    this.run = { ...content, history: doubles(buffers[0]) };
    this.error = "";
    this.stride = Math.max(1, Math.round(content.last / PLAYS));
    if (this.step < 0) this.model.set("step", content.last);
    this.race.settings = { ...content.settings };
    if (!content.shape) this.ask();
    else if (this.pad.strokes.length) this.drawn(true);
    else this.model.send({ ask: "image", run: content.run, number: this.model.get("image") });
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeImage(content, buffers) {
    if (content.number !== (content.tell === "image" ? this.model.get("image") : this.number)) return; // there is a newer one
    if (content.error || content.blank) {
      this.image = null;
      this.error = content.error ?? "";
    } else this.image = { values: bytes(buffers[0]).slice(), label: content.label ?? null };
    this.ask();
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeStep(content, buffers) {
    this.stopWaiting();
    if (content.canceled) return; // for a newer one
    if (content.error) {
      this.error = content.error;
      this.isPlaying = false;
      return;
    }
    this.error = "";
    this.notes = content.notes.join(" ");
    const sheet = new Int8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength).slice();
    this.moment = { ...content, values: sheet, curve: floats(buffers[1]) };
    if (this.isPlaying) this.playOn();
    if (this.isPlaying) return;
    const number = this.number;
    this.timers.measure = setTimeout(() => {
      if (number === this.number) this.model.send({ ask: "metrics", run: content.run, step: content.step, page: this.page, number });
    }, MEASURE_AFTER);
    this.timers.say = setTimeout(() => {
      this.spoken = this.sentence();
      this.show();
    }, SAY_AFTER);
  }

  // What the person does

  /** @param {string} name @param {number} [step] */
  open(name, step = -1) {
    this.model.set("run", name);
    this.model.set("step", step);
    this.model.save_changes();
    this.isPlaying = false;
    this.renew(); // answers for another run come too late
    this.stopWaiting();
    this.run = this.moment = this.metrics = null;
    this.error = this.notes = "";
    this.model.send({ ask: "open", run: name });
    this.show();
  }

  /** Go to a step. @param {number} step */
  go(step) {
    if (!this.run || !Number.isFinite(step)) return;
    this.model.set("step", Math.min(Math.max(Math.round(step), 0), this.run.last));
    this.ask();
    this.show();
  }

  /** Ask for the newest step, a moment later: while the slider moves, many are not needed. */
  ask() {
    if (!this.run) return;
    const number = this.renew();
    this.timers.ask = setTimeout(() => {
      this.model.save_changes();
      const buffers = this.image && this.run.shape ? [this.image.values.buffer] : [];
      this.model.send({ ask: "step", run: this.run.run, step: this.step, page: this.page, number }, undefined, buffers);
      clearInterval(this.timers.progress);
      this.isWaiting = true;
      this.here = -1;
      this.timers.progress = setInterval(() => this.model.send({ ask: "progress", run: this.run?.run ?? "" }), ASK_PROGRESS);
    }, PAUSE);
  }

  /** What is shown is no longer what is wanted. */
  renew() {
    this.number += 1;
    this.metrics = null;
    for (const name of /** @type {const} */ (["measure", "say", "ask"])) clearTimeout(this.timers[name]);
    return this.number;
  }

  stopWaiting() {
    clearInterval(this.timers.progress);
    this.isWaiting = false;
  }

  /** No answer will come: of a fault, or after a lost connection. */
  endWaiting() {
    this.stopWaiting();
    this.isPlaying = this.race.isForking = false;
  }

  play() {
    this.isPlaying = !this.isPlaying;
    if (this.isPlaying) this.go(this.step >= this.run.last ? 0 : this.step + this.stride);
    else this.ask();
    this.show();
  }

  playOn() {
    if (this.step >= this.run.last) this.isPlaying = false;
    else this.go(this.step + this.stride);
  }

  /** The end of the epoch before or after. @param {number} direction */
  epoch(direction) {
    const { steps_per_epoch: length = 1, position = 0, step = 0 } = this.moment ?? {};
    this.go(direction < 0 ? step - (position || length) : step + length - position);
  }

  anotherImage() {
    this.pad.strokes.length = 0;
    this.model.set("strokes", "");
    this.model.set("image", this.model.get("image") + 1);
    this.renew();
    this.model.send({ ask: "image", run: this.run.run, number: this.model.get("image") });
    this.pad.redraw(this.el);
  }

  /** @param {boolean} finished */
  drawn(finished) {
    this.pad.redraw(this.el);
    if (!finished || !this.run) return;
    const { text, isShort } = encode(this.pad.strokes);
    this.model.set("strokes", isShort ? text : "");
    this.model.save_changes();
    const [number, picture] = [this.renew(), this.pad.png()];
    this.show();
    this.model.send({ ask: "picture", run: this.run.run, number }, undefined, [picture]);
  }

  // What is shown

  /** @returns {string} */
  sentence() {
    const { moment, metrics, run } = this;
    if (!moment || !run) return "";
    const parts = [`Step ${moment.step}`];
    if (moment.bars) parts.push(this.says());
    const accuracy = metrics?.validation_accuracy;
    if (accuracy !== undefined && accuracy !== null) parts.push(`${percent(accuracy)} of the validation images right`);
    return `${parts.join(": ")}.`;
  }

  /** What the network says of the image; null for the class and its probability if they are not finite. */
  guess() {
    const bars = this.moment.bars;
    if (bars.includes(null)) return { name: null, value: null };
    const best = bars.indexOf(Math.max(...bars));
    return { name: this.run.names[best], value: bars[best] };
  }

  says() {
    const { name, value } = this.guess();
    return name === null ? "its outputs are not finite" : `it says ${name}, ${percent(value)} sure`;
  }

  show() {
    put(this.template(), this.el);
    const { moment, run } = this;
    this.el.dataset.step = moment ? String(moment.step) : "";
    this.el.toggleAttribute("data-is-settled", Boolean(moment && this.metrics && moment.number === this.number));
    this.pad.redraw(this.el);
    const canvas = (/** @type {string} */ name) => /** @type {HTMLCanvasElement | null} */ (this.el.querySelector(`canvas.${name}`));
    const looked = canvas("looked");
    if (looked && this.image && run?.shape) {
      const [height, width] = run.shape.slice(-2);
      gray(looked, this.image.values, width, height);
    }
    const sheet = canvas("sheet");
    if (sheet && moment) signed(sheet, moment.values, moment.sheet.shape[1], moment.sheet.shape[0], 127);
    if (run && moment) this.showCharts(canvas);
    this.race.draw(this.el);
  }

  /** @param {(name: string) => HTMLCanvasElement | null} canvas */
  showCharts(canvas) {
    const rows = this.run.history.length / 4;
    const column = (/** @type {number} */ j) => Array.from({ length: rows }, (_, i) => this.run.history[4 * i + j]);
    const points = this.moment.curve.length / 2;
    const passed = (/** @type {number} */ j) => Array.from({ length: points }, (_, i) => this.moment.curve[2 * i + j]);
    const losses = canvas("losses");
    if (losses) {
      chart(losses, {
        lines: [
          { name: "training loss", x: column(0), y: column(1), color: 0 },
          { name: "validation loss", x: column(0), y: column(2), color: 1, dashed: true },
          { name: "loss of the steps you passed", x: passed(0), y: passed(1), color: 2 },
        ],
        x: "step", y: "Loss", log: true, mark: this.moment.step,
      });
    }
  }

  template() {
    return html`
      <p class="lead">Press Play to watch a network learn again, or drag the slider to any step of its training.</p>
      ${this.runs && !this.runs.length ? html`<p class="notice">There is no training yet. Open Train above, and press Start.</p>` : nothing}
      <p class="run" ?hidden=${!this.choices().length}><label for="time-run">Run</label>
        <select id="time-run" @change=${(/** @type {any} */ e) => this.open(e.target.value)}>
          ${this.choices().map((name) => html`<option value=${name} ?selected=${name === this.model.get("run")}>${name}</option>`)}
        </select>
        ${this.run ? html`<span class="quiet">${this.about()}</span>` : nothing}</p>
      <p class="fault notice" role="alert">${this.error}</p>
      ${this.notes ? html`<p class="quiet" role="status">${this.notes}</p>` : nothing}
      ${this.run ? this.machine() : this.runs?.length && !this.error ? html`<p role="status">Opening…</p>` : nothing}
      <p class="spoken" aria-live="polite">${this.spoken}</p>`;
  }

  choices() {
    const name = this.model.get("run");
    return name && !this.runs?.includes(name) ? [name, ...(this.runs ?? [])] : this.runs ?? [];
  }

  about() {
    const { model, data, settings, seed, from } = this.run;
    return `${model} on ${data}; ${settings.optimizer}, rate ${figure(settings.lr)} (${settings.schedule}), batch size ` +
      `${settings.batch_size}, seed ${seed}${from ? `; forked from ${from}` : ""}`;
  }

  machine() {
    const { run, step, moment } = this;
    const where = moment && moment.step === step
      ? describe(moment)
      : this.error && !this.isWaiting ? ""
      : this.here >= 0 ? `computing: at step ${this.here.toLocaleString("en")}` : "computing…";
    const button = (/** @type {string} */ label, /** @type {() => void} */ act, off = false) =>
      html`<button @click=${act} ?disabled=${off}>${label}</button>`;
    return html`
      <section class="scrub" aria-labelledby="time-step">
        <h2 id="time-step">Step ${step.toLocaleString("en")} of ${run.last.toLocaleString("en")}
          <small class="quiet">${where}</small></h2>
        <input type="range" min="0" max=${run.last} step="1" .value=${String(step)} aria-label="Step"
          aria-valuetext=${`step ${step} of ${run.last}`}
          @input=${(/** @type {any} */ e) => { this.isPlaying = false; this.go(Number(e.target.value)); }}>
        <p class="buttons">
          <button class="primary" @click=${() => this.play()}>${this.isPlaying ? "Pause" : "Play"}</button>
          ${button("Start", () => this.go(0), step === 0)}
          ${button("Epoch back", () => this.epoch(-1), step === 0)}
          ${button("Step back", () => this.go(step - 1), step === 0)}
          ${button("Step on", () => this.go(step + 1), step === run.last)}
          ${button("Epoch on", () => this.epoch(1), step === run.last)}
          ${button("End", () => this.go(run.last), step === run.last)}
          <label>Go to <input type="number" min="0" max=${run.last} .value=${String(step)}
            @change=${(/** @type {any} */ e) => this.go(e.target.valueAsNumber)}></label>
        </p>
      </section>
      ${moment ? this.momentTemplate() : nothing}
      ${this.race.template()}
      ${moment ? code(moment.code) : nothing}`;
  }

  momentTemplate() {
    const { run, moment } = this;
    return html`
      <div class="columns">
        ${run.shape ? this.lookTemplate() : nothing}
        <div>
        <section aria-labelledby="time-weights">
          <h2 id="time-weights">What it has learned by then
            ${explain(moment.sheet.kind === "matrix"
              ? "Each square is one weight: orange above zero, blue below. The strongest weight has the full color."
              : "Each picture holds the weights of one neuron or filter: orange where bright pixels speak for it, blue where they speak against it. The strongest weight has the full color.",
              "the-network-reads-digits", "the weights")}</h2>
          <canvas class="sheet" role="img" aria-label=${`The weights of ${moment.sheet.shown} of ${moment.sheet.total} ${KINDS[moment.sheet.kind]} of ${moment.sheet.name}`}></canvas>
          <p class="quiet">${moment.sheet.shown} of ${moment.sheet.total} ${KINDS[moment.sheet.kind]} of ${moment.sheet.name};
            full color is ±${moment.sheet.limit === null ? "infinity" : figure(moment.sheet.limit)}.</p>
        </section>
        <section aria-labelledby="time-losses">
          <h2 id="time-losses">The whole training
            ${explain("The loss says how wrong the network is. The line across is where you are.", "stochastic-gradient-descent", "the losses")}</h2>
          <canvas class="losses"></canvas>
          <p class="quiet">Solid: training loss of each epoch, and of the steps you passed. Dashed: validation loss.</p>
        </section>
        </div>
        ${this.figuresTemplate()}
      </div>`;
  }

  lookTemplate() {
    const { moment, run, image } = this;
    const guess = moment.bars ? this.guess() : null;
    const answer = !guess ? "Nothing to look at" : guess.name === null ? "Its outputs are not finite" : `${guess.name}, ${percent(guess.value)} sure`;
    return html`
      <section aria-labelledby="time-says">
        <h2 id="time-says">What it says</h2>
        <p class="says">
          <canvas class="looked" role="img" aria-label=${image?.label ? `A test image of ${image.label}` : "Your drawing"} ?hidden=${!image}></canvas>
          <strong class="answer">${answer}</strong>
          ${image?.label ? html`<span class="quiet">It is ${image.label}.</span>` : nothing}
        </p>
        <table class="bars">
          <caption class="spoken">The probability of each class</caption>
          <tbody>${run.names.map((/** @type {string} */ name, /** @type {number} */ i) => html`
            <tr class=${guess?.name === name ? "best" : ""}><th scope="row">${name}</th>
              <td><meter min="0" max="1" .value=${moment.bars?.[i] ?? 0} aria-label=${name}></meter></td>
              <td class="number">${!guess ? "" : moment.bars[i] === null ? "not finite" : percent(moment.bars[i])}</td></tr>`)}</tbody>
        </table>
        <p class="buttons"><button @click=${() => this.anotherImage()}>Another image</button></p>
        ${run.shape.join() === "28,28" ? html`<details ?open=${this.pad.strokes.length > 0}>
          <summary>Draw a digit of your own</summary>
          ${this.pad.template("time-keys")}
          <p id="time-keys" class="quiet keys">By keyboard: arrows move the pen, Space puts it down and lifts it, Backspace undoes.</p>
          <p class="buttons"><button @click=${() => this.pad.clear()} ?disabled=${!this.pad.strokes.length}>Clear</button></p>
        </details>` : nothing}
      </section>`;
  }

  figuresTemplate() {
    const { moment, metrics } = this;
    const row = (/** @type {any} */ name, /** @type {any} */ value) =>
      html`<tr><th scope="row">${name}</th><td class="number">${value}</td></tr>`;
    const metric = (/** @type {string} */ key) => (metrics ? shown(key, metrics[key]) : "measuring…");
    const keys = metrics ? Object.keys(metrics) : ["validation_loss", "validation_accuracy"];
    return html`
      <section aria-labelledby="time-figures">
        <h2 id="time-figures">In numbers</h2>
        <table class="figures"><tbody>
          ${keys.map((key) => row(key.replaceAll("_", " "), metric(key)))}
          ${row("loss of this step's batch", moment.loss === null ? "–" : figure(moment.loss))}
          ${row("learning rate now", figure(moment.rate))}
          ${row(html`fingerprint ${explain("The first digits of the SHA-256 of all weights. Two trainings with the same fingerprint have the same weights, to the last bit.", "stochastic-gradient-descent", "the fingerprint")}`,
            html`<code class="digest" title=${moment.digest}>${moment.digest.slice(0, 12)}</code>`)}
        </tbody></table>
        <h3>The gradient's size
          ${explain("How strongly each weight of a layer pulls on the loss, on average (root mean square), for the first batch of training images. Each step to the right is ten times as much.", "backpropagation", "the gradient's size")}</h3>
        <table class="bars gradients"><tbody>${Object.entries(moment.gradients).map(([name, value]) => html`
          <tr><th scope="row">${name}</th>
            <td><meter min="0" max="8" .value=${Math.max(0, 8 + Math.log10(Number(value) || 1e-9))} aria-label=${name}></meter></td>
            <td class="number">${value === null ? "not finite" : figure(Number(value))}</td></tr>`)}</tbody></table>
      </section>`;
  }
}

/** @param {number} value */
const percent = (value) => `${(100 * value).toFixed(1)}%`;

/** @param {string} key @param {number | null | undefined} value */
const shown = (key, value) =>
  value === null || value === undefined ? "not finite" : key.includes("accuracy") ? `${(100 * value).toFixed(2)}%` : figure(value);

/** @param {any} moment */
function describe({ epoch, position, steps_per_epoch: length }) {
  if (position) return `in epoch ${epoch + 1}, after ${position} of ${length} steps`;
  return epoch ? `at the end of epoch ${epoch}` : "before the first step";
}
