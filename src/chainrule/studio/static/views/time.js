// @ts-check
// Time machine: a run at any of its steps, computed again; forks, and races.

import { bytes, column, doubles, floats } from "../parts/arrays.js";
import { chart } from "../parts/chart.js";
import { alert, bars, code, explain, probabilities, section, spoken } from "../parts/elements.js";
import { button, numberField, select } from "../parts/fields.js";
import { clamp, figure, percent, thousands } from "../parts/numbers.js";
import { Pad } from "../parts/pad.js";
import { gray, signed } from "../parts/pictures.js";
import { html, nothing } from "../parts/template.js";
import { View, module } from "../parts/view.js";
import { Race } from "./time_race.js";

const PAUSE = 60; // milliseconds between two requests while the slider moves
const MEASURE_AFTER = 150; // milliseconds at a step, before its accuracy is measured
const ASK_PROGRESS = 300; // milliseconds between two looks at a long replay
const PLAYS = 100; // steps of a whole run that is played
/** @type {Record<string, string>} */
const KINDS = { neurons: "neurons", filters: "filters", matrix: "rows" };

export const defaults = { run: "", step: -1, image: 0, strokes: "", forks: "" };

export class TimeMachine extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    this.page = Math.floor(Math.random() * 2 ** 31); // whose requests are whose
    this.number = 0; // of the newest request
    /** @type {string[] | null} */
    this.runs = null;
    /** @type {time_machine.Run | null} */
    this.run = null; // what is open
    /** @type {time_machine.Moment | null} */
    this.moment = null; // what is shown
    /** @type {time_machine.Metrics | null} */
    this.metrics = null;
    /** @type {{ values: Uint8Array<ArrayBuffer>, label: string | null } | null} */
    this.image = null; // what the network looks at
    this.notes = "";
    this.here = 0; // where a long replay is
    this.isWaiting = false;
    this.isPlaying = false;
    this.stride = 1;
    this.pad = new Pad(this, { changed: (finished) => this.drawn(finished) });
    this.race = new Race(this);
    this.model.set("image", Math.round(this.get("image")) % 1e6); // an address may have anything
    this.listen({
      ...this.race.answers,
      runs: ({ runs }) => this.takeRuns(runs),
      opened: (content, buffers) => content.run === this.get("run") && this.takeRun(content, buffers),
      image: (content, buffers) => content.number === this.get("image") && this.takeImage(content, buffers),
      picture: (content, buffers) => content.number === this.number && this.takeImage(content, buffers),
      step: (content, buffers) => content.number === this.number && this.takeStep(content, buffers),
      metrics: (content) => {
        if (content.number !== this.number) return;
        this.metrics = content.metrics ?? null;
        if (content.error) this.error = content.error;
      },
      progress: ({ step }) => this.isWaiting && (this.here = step),
      error: ({ error }) => {
        this.error = error;
        this.endWaiting();
      },
    }, () => {
      this.endWaiting();
      this.begin();
    });
    this.show();
    this.begin();
  }

  begin() {
    this.send("runs");
  }

  get step() {
    const step = this.get("step");
    return this.run ? clamp(Math.round(step), -1, this.run.last) : step;
  }

  // What the server says

  /** @param {string[]} runs */
  takeRuns(runs) {
    this.runs = runs;
    const name = this.get("run") || runs[0];
    if (name) this.open(name, this.get("step"));
    this.race.begin();
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeRun(content, buffers) {
    this.error = content.error ?? "";
    this.moment = this.metrics = null;
    this.run = content.error ? null : { ...content, history: doubles(buffers[0]) };
    if (!this.run) return;
    this.stride = Math.max(1, Math.round(this.run.last / PLAYS));
    if (this.step < 0) this.model.set("step", this.run.last);
    this.race.settings = { ...this.run.settings };
    if (!this.run.shape) this.ask();
    else if (this.pad.isEmpty) this.askImage();
    else this.drawn(true);
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeImage(content, buffers) {
    this.error = content.error ?? "";
    this.image = content.error || content.blank ? null : { values: bytes(buffers[0]).slice(), label: content.label ?? null };
    this.ask();
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeStep(content, [sheet, curve]) {
    this.stopWaiting();
    if (content.canceled) return; // for a newer one
    this.error = content.error ?? "";
    if (content.error) {
      this.isPlaying = false;
      return;
    }
    this.notes = content.notes.join(" ");
    this.moment = { ...content, values: new Int8Array(bytes(sheet).slice().buffer), curve: floats(curve) };
    if (this.isPlaying && this.playOn()) return;
    const { number, page } = this;
    this.later("measure", MEASURE_AFTER, () => this.send("metrics", { run: content.run, step: content.step, page, number }));
    this.say(() => this.sentence());
  }

  // What the person does

  /** @param {string} name @param {number} [step] */
  open(name, step = -1) {
    this.update({ run: name, step });
    this.renew(); // answers for another run come too late
    this.endWaiting();
    this.run = this.moment = null;
    this.error = this.notes = "";
    this.send("open", { run: name });
    this.show();
  }

  /** Go to a step. @param {number} step */
  go(step) {
    if (!this.run) return;
    this.model.set("step", clamp(Math.round(step), 0, this.run.last));
    this.ask();
    this.show();
  }

  /** Ask for the newest step, a moment later: while the slider moves, many are not needed. */
  ask() {
    const { run, page } = this;
    if (!run) return;
    const number = this.renew();
    this.later("ask", PAUSE, () => {
      this.update({ step: this.step });
      this.send("step", { run: run.run, step: this.step, page, number }, this.image && run.shape ? [this.image.values.buffer] : []);
      this.isWaiting = true;
      this.here = -1;
      this.askProgress();
    });
  }

  askProgress() {
    this.later("progress", ASK_PROGRESS, () => {
      this.send("progress", { run: this.run?.run ?? "" });
      this.askProgress();
    });
  }

  askImage() {
    this.send("image", { run: this.run?.run, number: this.get("image") });
  }

  /** What is shown is no longer what is wanted. */
  renew() {
    this.metrics = null;
    for (const name of ["measure", "say", "ask"]) this.cancel(name);
    return ++this.number;
  }

  stopWaiting() {
    this.cancel("progress");
    this.isWaiting = false;
  }

  /** No answer will come: of a fault, or after a lost connection. */
  endWaiting() {
    this.stopWaiting();
    this.isPlaying = this.race.isForking = false;
  }

  play() {
    this.isPlaying = !this.isPlaying;
    if (this.isPlaying) this.go(this.step === this.run?.last ? 0 : this.step + this.stride);
    else this.ask();
    this.show();
  }

  /** Whether there is a next step to play. */
  playOn() {
    this.isPlaying = this.step !== this.run?.last;
    if (this.isPlaying) this.go(this.step + this.stride);
    return this.isPlaying;
  }

  /** The end of the epoch before or after. @param {number} direction */
  epoch(direction) {
    const { steps_per_epoch: length = 1, position = 0, step = 0 } = this.moment ?? {};
    this.go(direction < 0 ? step - (position || length) : step + length - position);
  }

  anotherImage() {
    this.pad.strokes = [];
    this.update({ strokes: "", image: this.get("image") + 1 });
    this.renew();
    this.askImage();
    this.show();
  }

  /** @param {boolean} finished */
  drawn(finished) {
    if (!finished || !this.run) return;
    this.pad.save();
    const [run, number] = [this.run.run, this.renew()];
    this.show();
    this.send("picture", { run, number }, [this.pad.png()]);
  }

  // What is shown

  /** @returns {string} */
  sentence() {
    const { moment, metrics } = this;
    if (!moment) return "";
    const parts = [`Step ${moment.step}`];
    if (moment.bars) parts.push(this.says("its outputs are not finite", "it says "));
    if (metrics?.validation_accuracy != null) parts.push(`${percent(metrics.validation_accuracy)} of the validation images right`);
    return `${parts.join(": ")}.`;
  }

  /** The class of the image; undefined if there is none, or the outputs are not finite. */
  best() {
    const bars = this.moment?.bars;
    if (!bars || bars.includes(null)) return undefined;
    return bars.indexOf(Math.max(.../** @type {number[]} */ (bars)));
  }

  /** What the network says of the image. @param {string} notFinite @param {string} [before] */
  says(notFinite, before = "") {
    const best = this.best();
    return best === undefined ? notFinite : `${before}${this.run?.names[best]}, ${percent(this.moment?.bars?.[best])} sure`;
  }

  isSettled() {
    return Boolean(this.metrics) && this.moment?.number === this.number;
  }

  paint() {
    const { moment, run } = this;
    this.el.dataset.step = moment ? String(moment.step) : "";
    this.pad.repaint();
    this.race.paint();
    if (!run || !moment) return;
    if (this.image && run.shape) {
      const [height, width] = run.shape.slice(-2);
      gray(this.canvas("canvas.looked"), this.image.values, width, height);
    }
    signed(this.canvas("canvas.sheet"), moment.values, moment.sheet.shape[1], moment.sheet.shape[0], 127);
    const [steps, training, validation] = [0, 1, 2].map((j) => column(run.history, j, 4));
    chart(this.canvas("canvas.losses"), {
      lines: [
        { name: "training loss", x: steps, y: training },
        { name: "validation loss", x: steps, y: validation, dashed: true },
        { name: "loss of the steps you passed", x: column(moment.curve, 0, 2), y: column(moment.curve, 1, 2) },
      ],
      x: "step", y: "Loss", log: true, mark: moment.step,
    });
  }

  template() {
    const { run, runs } = this;
    return html`
      <p class="lead">Press Play to watch a network learn again, or drag the slider to any step of its training.</p>
      ${runs && !runs.length ? html`<p class="notice">There is no training yet. Open Train above, and press Start.</p>` : nothing}
      <p class="fields" ?hidden=${!runs?.length && !this.get("run")}>${select("Run", runs ?? [], this.get("run"), (name) => this.open(name))}
        <span class="quiet">${run?.about}</span></p>
      ${alert(this.error)}
      ${this.notes ? html`<p class="quiet" role="status">${this.notes}</p>` : nothing}
      ${run ? this.machine(run) : runs?.length && !this.error ? html`<p role="status">Opening…</p>` : nothing}
      ${spoken(this.spoken)}`;
  }

  /** @param {time_machine.Run} run */
  machine(run) {
    const { step, moment } = this;
    const { last } = run;
    const where = moment && moment.step === step ? describe(moment)
      : this.error && !this.isWaiting ? ""
      : this.here >= 0 ? `computing: at step ${thousands(this.here)}` : "computing…";
    const slide = (/** @type {number} */ to) => {
      this.isPlaying = false;
      this.go(to);
    };
    return html`
      <section class="scrub" aria-labelledby="time-step">
        <h2 id="time-step">Step ${thousands(step)} of ${thousands(last)}
          <small class="quiet">${where}</small></h2>
        <input type="range" min="0" max=${last} step="1" .value=${String(step)} aria-label="Step"
          aria-valuetext=${`step ${step} of ${last}`} @input=${(e) => slide(e.target.valueAsNumber)}>
        <p class="buttons">
          ${button(this.isPlaying ? "Pause" : "Play", () => this.play(), false, "primary")}
          ${button("Start", () => this.go(0), step === 0)}
          ${button("Epoch back", () => this.epoch(-1), step === 0)}
          ${button("Step back", () => this.go(step - 1), step === 0)}
          ${button("Step on", () => this.go(step + 1), step === last)}
          ${button("Epoch on", () => this.epoch(1), step === last)}
          ${button("End", () => this.go(last), step === last)}
          ${numberField("Go to", step, (to) => this.go(to), { max: last })}
        </p>
      </section>
      ${moment ? html`
        <div class="columns">
          ${run.shape ? this.look(run, moment) : nothing}
          <div>${weights(moment)}
            ${section("losses", "The whole training", html`<canvas class="chart losses"></canvas>`, [
              "The loss says how wrong the network is. The line across is where you are.",
              "stochastic-gradient-descent",
            ])}
          </div>
          ${figures(moment, this.metrics)}
        </div>` : nothing}
      ${this.race.template(run)}
      ${moment ? code(moment.code) : nothing}`;
  }

  /** What the network makes of an image. @param {time_machine.Run} run @param {time_machine.Moment} moment */
  look({ names, shape }, moment) {
    const label = this.image?.label;
    const best = this.best();
    return section("says", "What it says", html`
      <p class="says">
        <canvas class="picture looked" role="img" aria-label=${label ? `A test image of ${label}` : "Your drawing"} ?hidden=${!this.image}></canvas>
        <strong class="answer">${moment.bars ? this.says("Its outputs are not finite") : "Nothing to look at"}</strong>
        ${label ? html`<span class="quiet">It is ${label}.</span>` : nothing}
      </p>
      ${probabilities(names, moment.bars, best === undefined ? best : names[best])}
      <p class="buttons">${button("Another image", () => this.anotherImage())}</p>
      ${String(shape) === "28,28" ? html`<details ?open=${!this.pad.isEmpty}>
        <summary>Draw a digit of your own</summary>
        ${this.pad.template()}
      </details>` : nothing}`);
  }
}

/** Where a step is. @param {time_machine.Moment} moment */
function describe({ epoch, position, steps_per_epoch: length }) {
  if (position) return `in epoch ${epoch + 1}, after ${position} of ${length} steps`;
  return epoch ? `at the end of epoch ${epoch}` : "before the first step";
}

/** @param {time_machine.Moment} moment */
function weights({ sheet: { kind, name, shown, total, limit } }) {
  const what = `${shown} of ${total} ${KINDS[kind]} of ${name}`;
  return section("weights", "What it has learned by then", html`
    <canvas class="picture sheet" role="img" aria-label=${`The weights of ${what}`}></canvas>
    <p class="quiet">${what}; full color is ±${limit === null ? "infinity" : figure(limit)}.</p>`, [
    kind === "matrix"
      ? "Each square is one weight: orange above zero, blue below. The strongest weight has the full color."
      : "Each picture holds the weights of one neuron or filter: orange where bright pixels speak for it, blue where they speak against it. The strongest weight has the full color.",
    "the-network-reads-digits",
  ]);
}

/** @param {time_machine.Moment} moment @param {time_machine.Metrics | null} metrics  null while they are measured */
function figures({ loss, rate, digest, gradients }, metrics) {
  const row = (/** @type {Content} */ name, /** @type {Content} */ value) =>
    html`<tr><th scope="row">${name}</th><td class="number">${value}</td></tr>`;
  const metric = (/** @type {string} */ key, /** @type {number | null} */ value) =>
    row(key.replaceAll("_", " "), value === null ? "not finite" : key.includes("accuracy") ? percent(value, 2) : figure(value));
  return section("figures", "In numbers", html`
    <table class="figures"><tbody>
      ${metrics ? Object.entries(metrics).map(([key, value]) => metric(key, value))
        : ["validation loss", "validation accuracy"].map((name) => row(name, "measuring…"))}
      ${row("loss of this step's batch", loss === null ? "–" : figure(loss))}
      ${row("learning rate now", figure(rate))}
      ${row(html`fingerprint ${explain("The first digits of the SHA-256 of all weights. Two trainings with the same fingerprint have the same weights, to the last bit.", "stochastic-gradient-descent", "the fingerprint")}`,
        html`<code class="digest" title=${digest}>${digest.slice(0, 12)}</code>`)}
    </tbody></table>
    <h3>The gradient's size
      ${explain("How strongly each weight of a layer pulls on the loss, on average (root mean square), for the first batch of training images. Each step to the right is ten times as much.", "backpropagation", "the gradient's size")}</h3>
    <div class="gradients">${bars("The gradient's size in each layer", Object.entries(gradients).map(([name, value]) => (
      { name, value: Math.log10(value || 1e-9), text: value === null ? "not finite" : figure(value) })), -8, 0)}</div>`);
}

export default module(TimeMachine);
