// @ts-check
// Train: choose what to train, steer it while it runs, and watch the network learn.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { bytes } from "../parts/arrays.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import { Pad } from "../parts/pad.js";
import { decode, encode } from "../parts/strokes.js";
import { display, draw } from "./train_network.js";
import { settingsForm } from "./train_settings.js";

export const defaults = {
  data: "mnist", model: "mlp", optimizer: "", lr: 0, schedule: "", batch_size: 0, epochs: 0, seed: 0, limit: 0,
  run: "", sample: 0, strokes: "", keep: false,
};

const RETRY = 1000; // milliseconds until a page that got an error asks again
const DRAWN = 300; // milliseconds after the last stroke until the drawing is looked at
const BUSY = ["starting", "loading", "running", "paused", "searching"];

export default {
  /** @param {{ model: any, el: HTMLElement, signal?: AbortSignal }} context */
  render({ model, el, signal }) {
    new Train(model, el, signal);
  },
};

class Train {
  /** @param {any} model @param {HTMLElement} el @param {AbortSignal} [signal] */
  constructor(model, el, signal) {
    this.model = model;
    this.el = el;
    this.signal = signal;
    /** @type {any} */
    this.choices = null;
    this.opening = ""; // the run that trains, which was found when the page came
    this.hasBegun = false;
    /** @type {any} */
    this.run = null; // what the server says of the run that is shown
    /** @type {any} */
    this.state = { state: "idle" };
    /** @type {any} */
    this.frame = null;
    /** @type {DataView[]} */
    this.buffers = [];
    /** @type {any} */
    this.picture = null;
    this.number = 0; // of the newest news
    this.asking = false;
    this.error = "";
    this.spoken = "";
    this.program = "";
    this.timer = 0;
    this.pad = new Pad(decode(model.get("strokes")), { changed: (finished) => this.drawn(finished) });
    model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => this.told(content, buffers));
    model.on("connected", () => this.begin());
    this.show();
    this.begin();
  }

  begin() {
    this.asking = false;
    this.number = 0;
    this.model.send({ ask: "choices" });
    if (this.model.get("keep")) this.model.send({ ask: "keep", on: true });
    if (this.model.get("run")) this.model.send({ ask: "open", run: this.model.get("run") });
  }

  // What the server says

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    if (content.tell === "choices") {
      this.choices = content;
      if (content.training && !this.model.get("run")) {
        this.opening = content.training;
        this.model.send({ ask: "open", run: content.training });
      }
      if (content.keep) this.set("keep", true); // another page said so
    } else if (content.tell === "keep") this.set("keep", content.on);
    else if (content.tell === "run") {
      const isLate = this.hasBegun && content.run === this.opening; // another was begun meanwhile
      this.opening = "";
      if (!isLate) this.opened(content);
    }
    else if (content.tell === "frame" && content.run === this.run?.run) this.newest(content, buffers);
    else if (content.tell === "frame") {
      this.asking = false; // of the run that was shown before
      this.ask();
    }
    else if (content.tell === "history" && content.run === this.run?.run) this.run.records = content.records;
    else if (content.tell === "picture") this.picture = { ...content, values: bytes(buffers[0]) };
    else if (content.tell === "code") this.program = content.code;
    else if (content.error) {
      this.error = content.error; // an alert, which is read aloud
      this.asking = false;
      this.hasBegun = false;
      setTimeout(() => this.ask(), RETRY);
    }
    this.show();
  }

  /** A run was begun or opened. @param {any} run */
  opened(run) {
    this.run = run;
    this.error = this.program = "";
    this.frame = null;
    this.number = 0;
    this.state = { state: run.is_training ? "starting" : "idle" };
    this.model.set("run", run.run);
    this.model.save_changes();
    if (!run.is_training) this.model.send({ ask: "code", run: run.run });
    this.look();
    this.ask();
  }

  /** @param {any} content @param {DataView[]} buffers */
  newest(content, buffers) {
    const before = this.state;
    this.asking = false;
    this.number = content.number;
    this.state = content.state;
    if (content.state.changes) this.run.changes = content.state.changes;
    if (content.state.lr) this.run.lr = content.state.lr;
    if (content.state.result) this.run.result = content.state.result;
    if (content.frame) [this.frame, this.buffers] = [content.frame, buffers];
    const completed = content.frame?.completed ?? 0;
    if (completed !== this.run.records.length && completed) this.model.send({ ask: "history", run: this.run.run });
    if (before.state !== this.state.state) {
      if (before.state === "starting" && this.state.state !== "idle") this.look();
      if (["paused", "finished", "diverged", "stopped", "failed"].includes(this.state.state)) {
        this.spoken = this.sentence();
        this.model.send({ ask: "history", run: this.run.run });
        this.model.send({ ask: "code", run: this.run.run });
      } else this.spoken = this.state.state === "running" ? "Training." : "";
    }
    requestAnimationFrame(() => this.ask());
  }

  /** Ask for the newest frame: the next one, once this one is painted. */
  ask() {
    if (this.asking || !this.run || this.signal?.aborted) return;
    this.asking = true;
    this.model.send({ ask: "frame", run: this.run.run, after: this.number });
  }

  // What the person does

  start() {
    const settings = { data: this.model.get("data"), model: this.model.get("model") };
    for (const key of ["optimizer", "lr", "schedule", "batch_size", "epochs", "seed", "limit"]) {
      if (this.model.get(key) !== defaults[/** @type {keyof typeof defaults} */ (key)]) {
        Object.assign(settings, { [key]: this.model.get(key) });
      }
    }
    this.error = "";
    this.hasBegun = true;
    this.model.send({ ask: "start", settings });
    this.show();
  }

  /** @param {string} what @param {object} [more] */
  steer(what, more = {}) {
    this.error = "";
    this.model.send({ ask: what, run: this.run.run, ...more });
    this.show();
  }

  /** Change the rate, and go on if training has come to an end. @param {number} lr @param {object} [more] */
  change(lr, more = {}) {
    if (!(lr > 0)) {
      this.error = "The learning rate must be a number above 0.";
      this.show();
      return;
    }
    this.steer("change", { lr, ...more });
  }

  /** @param {string} key @param {string | number | boolean} value */
  set(key, value) {
    this.model.set(key, value);
    this.model.save_changes();
    this.show();
  }

  /** @param {boolean} on */
  keep(on) {
    this.set("keep", on);
    this.model.send({ ask: "keep", on });
  }

  /** @param {boolean} finished */
  drawn(finished) {
    this.pad.redraw(this.el);
    if (!finished) return;
    const text = encode(this.pad.strokes);
    this.set("strokes", text.isShort ? text.text : "");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), DRAWN);
  }

  /** Show the network the drawing, or a sample. */
  look() {
    if (!this.run || this.run.task !== "images") return;
    const message = { ask: "look", run: this.run.run };
    if (this.pad.strokes.length) this.model.send(message, undefined, [this.pad.png()]);
    else this.model.send({ ...message, sample: this.model.get("sample") });
  }

  another() {
    this.pad.strokes.length = 0;
    this.pad.redraw(this.el);
    this.model.set("strokes", "");
    this.set("sample", this.model.get("sample") + 1);
    this.look();
  }

  // What is shown

  /** @returns {string} */
  sentence() {
    const { state, frame, run } = this;
    const step = (state.step ?? frame?.step ?? 0).toLocaleString("en");
    switch (state.state) {
      case "starting":
      case "loading":
        return "Starting, and loading the data…";
      case "running": {
        if (!frame) return "Training…";
        const speed = frame.speed ? `, ${Math.round(frame.speed).toLocaleString("en")} steps a second` : "";
        return `Training: epoch ${frame.epoch} of ${frame.epochs}, step ${frame.step.toLocaleString("en")} of ${frame.steps.toLocaleString("en")}${speed}.`;
      }
      case "paused":
        return `Paused after step ${step}.`;
      case "searching":
        return "The loss is not a number any more: looking for the step where that began…";
      case "diverged":
        return `Training went wrong at step ${step}.`;
      case "finished":
        return `Finished: ${resultOf(state.result)}.`;
      case "stopped":
        if (run.result) return `This run is finished: ${resultOf(run.result)}.`;
        return state.sentence ?? `Stopped and saved after step ${step}. Go on whenever you like.`;
      case "failed":
        return state.sentence;
      default:
        if (!run) return "Nothing is training.";
        if (run.result) return `This run is finished: ${resultOf(run.result)}.`;
        return `This run has done ${run.records.length} of ${run.epochs} epochs. Go on whenever you like.`;
    }
  }

  show() {
    put(this.template(), this.el);
    this.el.dataset.state = this.state.state;
    this.el.dataset.step = String(this.frame?.step ?? "");
    if (this.pad.canvas !== this.el.querySelector("canvas.pad")) this.pad.redraw(this.el); // it has just come
    draw(this.el, this);
  }

  template() {
    const { run, state } = this;
    const busy = BUSY.includes(state.state);
    return html`
      <p class="lead">Press Start, and watch a network learn. You can stop and go on whenever you like: everything is saved.</p>
      <p class="buttons">
        ${busy
          ? html`
            ${state.state === "paused"
              ? html`<button class="primary" @click=${() => this.steer("go")}>Go on</button>`
              : html`<button class="primary" @click=${() => this.steer("pause")}>Pause</button>`}
            <button @click=${() => this.steer("step")}>One step</button>
            <button @click=${() => this.steer("stop")}>Stop</button>`
          : html`
            <button class=${state.state === "diverged" ? "" : "primary"} @click=${() => this.start()} ?disabled=${!this.choices}>Start</button>
            ${run && run.run !== "shipped" && !run.result && ["idle", "stopped", "failed"].includes(state.state)
              ? html`<button @click=${() => this.steer("go")}>Go on with this run</button>`
              : nothing}
            ${state.state === "finished"
              ? html`<button @click=${() => this.steer("change", { epochs: this.frame.epochs + 1 })}>One more epoch</button>`
              : nothing}`}
        <label><input type="checkbox" .checked=${this.model.get("keep")}
          @change=${(/** @type {any} */ e) => this.keep(e.target.checked)}> Keep running when this page is closed</label>
      </p>
      <p class="answer status">${this.sentence()}</p>
      <p class="wrong notice" role="alert">${this.error || state.refused || ""}</p>
      <p class="spoken" aria-live="polite">${this.spoken}</p>
      ${state.state === "diverged" ? this.rescue() : nothing}
      ${run && busy ? this.rate() : nothing}
      <details class="settings" ?open=${!run}>
        <summary>What to train, and how</summary>
        ${settingsForm(this.choices, (key) => this.model.get(key), (key, value) => this.set(key, value))}
      </details>
      ${run ? display(this) : nothing}
      ${run && this.program ? code(this.program) : nothing}`;
  }

  /** Steering the rate. */
  rate() {
    const lr = this.run.lr;
    return html`
      <form class="rate buttons" @submit=${(/** @type {any} */ e) => { e.preventDefault(); this.change(Number(e.target.elements.lr.value)); }}>
        <label>Learning rate <input name="lr" type="number" min="0" step="any" .value=${String(lr)}></label>
        <button>Change it</button>
        <button type="button" @click=${() => this.change(Number((lr / 2).toPrecision(6)))}>Half</button>
        <button type="button" @click=${() => this.change(Number((lr * 2).toPrecision(6)))}>Double</button>
        ${explain(
          "How far each step goes downhill. A change is recorded in the run, so that it can be repeated to the last bit.",
          "rolling-downhill", "the learning rate",
        )}
      </form>
      <p class="quiet">${this.frame && this.run.schedule !== "constant" ? html`${this.run.schedule} schedule: the rate is now ${Number(this.frame.rate.toPrecision(3))}. ` : nothing}
        ${this.run.changes.map((/** @type {any} */ change) => {
          const pair = change.settings.lr;
          return pair ? html`From step ${(change.epoch * (this.frame?.steps_per_epoch ?? 0) + change.step + 1).toLocaleString("en")}: ${pair[1]} instead of ${pair[0]}. ` : nothing;
        })}</p>`;
  }

  /** What to do after NaN. */
  rescue() {
    const { state } = this;
    const lr = Number((state.lr / 10).toPrecision(3));
    return html`
      <section class="rescue notice" aria-labelledby="rescue-title">
        <h2 id="rescue-title">The numbers have become too large</h2>
        <p>In step ${state.step?.toLocaleString("en")}${state.epoch ? ` of epoch ${state.epoch}` : ""}, ${state.where ?? state.sentence}.
          A rate of ${state.lr} lets each step go too far, and the next one goes further still.
          ${explain("Downhill steps that are too long climb the other side, higher each time.", "rolling-downhill", "what happened")}</p>
        <p class="buttons">
          ${state.last_good === null || state.last_good === undefined
            ? nothing
            : html`<button class="primary" @click=${() => this.change(lr, { step: state.last_good })}>
                Go back to step ${state.last_good.toLocaleString("en")}, and go on with rate ${lr}</button>`}
          <button @click=${() => { this.set("lr", lr); this.start(); }}>Start over with rate ${lr}</button>
        </p>
      </section>`;
  }
}

/** @param {any} result */
const resultOf = (result) => {
  if (!result) return "the best weights are saved";
  if ("test_accuracy" in result) return `${(100 * result.test_accuracy).toFixed(2)}% of the test images are read right`;
  const [name, value] = Object.entries(result)[0];
  return `${name.replace("_", " ")} ${Number(value).toPrecision(4)}`;
};
