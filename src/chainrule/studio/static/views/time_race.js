// @ts-check
// The part of the Time machine that forks a run, trains the fork, or two that race.

import { html, nothing } from "../vendor/lit-html.js";
import { floats } from "../parts/arrays.js";
import { chart, figure } from "../parts/chart.js";
import { explain } from "../parts/explain.js";

/** @type {Record<string, string>} */
const STATES = {
  starting: "starting", loading: "loading the data", running: "training", paused: "paused", searching: "looking for the fault",
  finished: "finished", diverged: "diverged", stopped: "stopped", failed: "failed",
};

export class Race {
  /** @param {any} view the Time machine */
  constructor(view) {
    this.view = view;
    /** @type {any} */
    this.settings = {}; // of the form
    /** @type {Map<string, any>} */
    this.lanes = new Map(); // by run
    this.error = "";
    this.isForking = false;
  }

  /** @returns {string[]} */
  get names() {
    return this.view.model.get("forks").split("/").filter(Boolean).slice(0, 2);
  }

  begin() {
    for (const name of this.names) this.pull(name, 0);
  }

  /** Ask for what is new in a run, after a number. @param {string} name @param {number} after */
  pull(name, after) {
    this.view.model.send({ ask: "lane", run: name, after });
  }

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    if (content.tell === "lane") {
      if (!this.names.includes(content.run)) return;
      const lane = content.error ? { ...this.lanes.get(content.run), error: content.error, is_running: false }
        : { ...content, curve: floats(buffers[0]), history: floats(buffers[1]) };
      if (lane.curve && !lane.curve.length) lane.curve = this.lanes.get(content.run)?.curve ?? lane.curve;
      this.lanes.set(content.run, lane);
      if (lane.is_running) this.pull(content.run, lane.number);
    } else if (content.error || content.canceled) {
      this.isForking = false;
      this.error = content.error ?? "";
    } else if (content.tell === "stopped") {
      this.begin();
    } else {
      this.isForking = false;
      this.error = "";
      if (content.tell === "forked") this.lanes.clear();
      this.view.model.set("forks", content.runs.join("/"));
      this.view.model.save_changes();
      this.begin();
    }
  }

  /** @param {boolean} race */
  fork(race) {
    const { run, step } = this.view;
    const settings = Object.fromEntries(
      ["optimizer", "lr", "batch_size", "epochs"]
        .filter((key) => this.settings[key] !== run.settings[key])
        .map((key) => [key, this.settings[key]]),
    );
    if (settings.optimizer) settings.lr = this.settings.lr;
    this.isForking = true;
    this.error = "";
    this.view.model.send({ ask: "fork", run: run.run, step, settings, race });
    this.view.show();
  }

  stop() {
    this.view.model.send({ ask: "stop" });
  }

  /** @param {string} key @param {any} value */
  set(key, value) {
    this.settings[key] = value;
    if (key === "optimizer") {
      const { optimizers, settings } = this.view.run;
      this.settings.lr = value === settings.optimizer ? settings.lr : optimizers[value] ?? settings.lr;
    }
    this.view.show();
  }

  /** @param {string} key @param {HTMLInputElement} field */
  setNumber(key, field) {
    const value = field.valueAsNumber;
    if (Number.isNaN(value)) field.value = String(this.settings[key]); // it was emptied
    else this.set(key, key === "lr" ? value : Math.round(value));
  }

  /** @param {HTMLElement} el */
  draw(el) {
    const canvas = /** @type {HTMLCanvasElement | null} */ (el.querySelector("canvas.race"));
    if (!canvas) return;
    const live = this.names.some((name) => this.lanes.get(name)?.curve?.length); // after a restart there are epochs only
    const lines = this.names.flatMap((name, i) => {
      const pairs = this.lanes.get(name)?.[live ? "curve" : "history"] ?? [];
      const points = Array.from({ length: pairs.length / 2 }, (_, j) => j);
      return [{ name, x: points.map((j) => pairs[2 * j]), y: points.map((j) => pairs[2 * j + 1]), color: i, dashed: i === 1 }];
    });
    chart(canvas, { lines, x: live ? "step" : "epoch", y: live ? "Training loss" : "Validation loss", log: true });
  }

  template() {
    const { run, moment, step } = this.view;
    const { settings } = this;
    const mid = moment && moment.step === step && moment.position > 0;
    const number = (/** @type {string} */ key, /** @type {string} */ label, /** @type {string} */ least) => html`
      <label>${label} <input type="number" min=${least} step="any" .value=${String(settings[key])}
        ?disabled=${key === "batch_size" && mid}
        @change=${(/** @type {any} */ e) => this.setNumber(key, e.target)}></label>`;
    return html`
      <section aria-labelledby="time-fork">
        <h2 id="time-fork">What if, from here?
          ${explain(
            "A fork is a new run that goes on from this step, with other settings. In a race, one goes on as it was, beside it: both start with the same weights and see the same batches.",
            "optimizers", "forks and races")}</h2>
        <p class="quiet">Change a setting, and train on from this step, in a new run.</p>
        <form class="fork buttons" @submit=${(/** @type {Event} */ e) => e.preventDefault()}>
          ${number("lr", "Learning rate", "0")}
          <label>Optimizer <select @change=${(/** @type {any} */ e) => this.set("optimizer", e.target.value)}>
            ${Object.keys(run.optimizers).map((name) => html`
              <option value=${name} ?selected=${name === settings.optimizer}>${name}</option>`)}
          </select></label>
          ${number("batch_size", "Batch size", "1")}
          ${number("epochs", "Epochs in total", "1")}
          <button @click=${() => this.fork(false)} ?disabled=${this.isForking}>Fork and train</button>
          <button @click=${() => this.fork(true)} ?disabled=${this.isForking}>Race against the old settings</button>
        </form>
        ${mid ? html`<p class="quiet">The batch size can change only between epochs: “Epoch back” goes there.</p>` : nothing}
        <p class="fault notice" role="alert">${this.error}</p>
        ${this.isForking ? html`<p role="status">Computing the state at this step…</p>` : nothing}
        ${this.names.length ? this.lanesTemplate() : nothing}
      </section>`;
  }

  lanesTemplate() {
    const lanes = this.names.map((name) => this.lanes.get(name) ?? {});
    const running = lanes.some((lane) => lane.is_running);
    const over = lanes.every((lane) => lane.error || ["finished", "diverged"].includes(lane.state));
    return html`
      <canvas class="race"></canvas>
      <p class="quiet">Their losses: solid is the first row of the table, dashed the second.</p>
      <div class="scrolls" tabindex="0" role="region" aria-label="The forks"><table class="lanes">
        <thead><tr><th scope="col">Line</th><th scope="col">Run</th><th scope="col">Optimizer</th><th scope="col">Rate</th><th scope="col">Step</th>
          <th scope="col">Loss</th><th scope="col">Validation accuracy</th><th scope="col">State</th><td></td></tr></thead>
        <tbody>${this.names.map((name, i) => this.laneTemplate(name, i))}</tbody>
      </table></div>
      <p class="buttons">
        <button @click=${() => this.stop()} ?disabled=${!running}>Stop</button>
        <button @click=${() => this.view.model.send({ ask: "go on", runs: this.names })} ?disabled=${running || over}>Go on</button>
      </p>`;
  }

  /** @param {string} name @param {number} i */
  laneTemplate(name, i) {
    const lane = this.lanes.get(name) ?? {};
    const state = lane.error ?? lane.sentence ?? STATES[lane.state] ?? "…";
    return html`<tr data-run=${name} data-state=${lane.state ?? ""}>
      <td>${i ? "dashed" : "solid"}</td>
      <th scope="row">${name}</th>
      <td>${lane.settings?.optimizer ?? ""}</td>
      <td class="number">${lane.settings ? figure(lane.settings.lr) : ""}</td>
      <td class="number">${lane.steps ? `${lane.step} of ${lane.steps}` : lane.epochs ? `epoch ${lane.epochs}` : lane.from ?? ""}</td>
      <td class="number">${typeof lane.loss === "number" ? figure(lane.loss) : ""}</td>
      <td class="number">${typeof lane.validation_accuracy === "number" ? percent(lane.validation_accuracy) : ""}</td>
      <td>${state}${lane.test_accuracy != null ? `; its best weights read ${percent(lane.test_accuracy)} of the test images` : ""}</td>
      <td><button @click=${() => this.view.open(name, lane.from ?? -1)} ?disabled=${!lane.state}>Open</button></td>
    </tr>`;
  }
}

/** @param {number} value */
const percent = (value) => `${(100 * value).toFixed(1)}%`;
