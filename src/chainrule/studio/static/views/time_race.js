// @ts-check
// The part of the Time machine that forks a run, trains the fork, or two that race.

import { column, floats } from "../parts/arrays.js";
import { chart } from "../parts/chart.js";
import { alert, section, table } from "../parts/elements.js";
import { button, numberField, select } from "../parts/fields.js";
import { figure, percent } from "../parts/numbers.js";
import { html, nothing } from "../parts/template.js";

/** Where another word says more. @type {Record<string, string>} */
const STATES = { loading: "loading the data", running: "training", searching: "looking for the fault" };
const HEADS = ["Line", "Run", "Optimizer", "Rate", "Step", "Loss", "Validation accuracy", "State", "Open"];

export class Race {
  /** @param {import("./time.js").TimeMachine} view */
  constructor(view) {
    this.view = view;
    /** @type {any} */
    this.settings = {}; // of the form
    /** @type {Map<string, time_machine.Lane>} */
    this.lanes = new Map(); // by run
    this.error = "";
    this.isForking = false;
    const forked = (/** @type {any} */ content) => this.forked(content);
    /** What the Python side tells of it. @type {Answers} */
    this.answers = {
      lane: (content, buffers) => this.names.includes(content.run) && this.takeLane(content, buffers),
      stopped: () => this.begin(), forked, "gone on": forked,
    };
  }

  /** @returns {string[]} */
  get names() {
    return this.view.get("forks").split("/").filter(Boolean).slice(0, 2);
  }

  /** What is known of the forks. @returns {Partial<time_machine.Lane>[]} */
  get known() {
    return this.names.map((name) => this.lanes.get(name) ?? {});
  }

  begin() {
    for (const name of this.names) this.pull(name, 0);
  }

  /** Ask for what is new in a run, after a number. @param {string} name @param {number} after */
  pull(name, after) {
    this.view.send("lane", { run: name, after });
  }

  /** @param {any} content @param {DataView[]} buffers */
  takeLane(content, buffers) {
    const before = this.lanes.get(content.run);
    const lane = content.error ? { ...before, error: content.error, is_running: false }
      : { ...content, curve: floats(buffers[0]), history: floats(buffers[1]) };
    if (!lane.curve?.length && before) lane.curve = before.curve;
    this.lanes.set(content.run, lane);
    if (lane.is_running) this.pull(content.run, lane.number);
  }

  /** @param {any} content */
  forked(content) {
    this.isForking = false;
    this.error = content.error ?? "";
    if (content.error || content.canceled) return;
    if (content.tell === "forked") this.lanes.clear();
    this.view.update({ forks: content.runs.join("/") });
    this.begin();
  }

  /** @param {time_machine.Run} run @param {boolean} race */
  fork({ run, settings: before }, race) {
    const changes = Object.entries(this.settings).filter(([key, value]) => value !== /** @type {any} */ (before)[key]);
    const settings = Object.fromEntries(changes);
    if (settings.optimizer) settings.lr = this.settings.lr;
    this.isForking = true;
    this.error = "";
    this.view.send("fork", { run, step: this.view.step, settings, race });
    this.view.show();
  }

  /** @param {Record<string, Value>} settings */
  set(settings) {
    Object.assign(this.settings, settings);
    this.view.show();
  }

  paint() {
    const live = this.known.some(({ curve }) => curve?.length); // after a restart there are epochs only
    const lines = this.known.map(({ curve, history }, i) => {
      const points = (live ? curve : history) ?? [];
      return { name: this.names[i], x: column(points, 0, 2), y: column(points, 1, 2), dashed: i === 1 };
    });
    chart(this.view.canvas("canvas.race"), { lines, x: live ? "step" : "epoch", y: live ? "Training loss" : "Validation loss", log: true });
  }

  /** @param {time_machine.Run} run */
  template(run) {
    const { settings, isForking } = this;
    const choose = (/** @type {string} */ optimizer) => {
      const usual = optimizer === run.settings.optimizer ? run.settings.lr : run.optimizers[optimizer];
      this.set({ optimizer, lr: usual ?? run.settings.lr });
    };
    return section("fork", "What if, from here?", html`
      <p class="quiet">Change a setting, and train on from this step, in a new run.</p>
      <div class="fields">
        ${numberField("Learning rate", settings.lr, (lr) => this.set({ lr }), { step: "any" })}
        ${select("Optimizer", Object.keys(run.optimizers), settings.optimizer, choose)}
        ${numberField("Epochs in total", settings.epochs, (epochs) => this.set({ epochs }), { min: 1 })}
        ${button("Fork and train", () => this.fork(run, false), isForking)}
        ${button("Race against the old settings", () => this.fork(run, true), isForking)}
      </div>
      ${alert(this.error)}
      ${isForking ? html`<p role="status">Computing the state at this step…</p>` : nothing}
      ${this.names.length ? this.lanesTable() : nothing}`, [
      "A fork is a new run that goes on from this step, with other settings. In a race, one goes on as it was, beside it: both start with the same weights and see the same batches.",
      "optimizers",
    ]);
  }

  lanesTable() {
    const { names, known } = this;
    const isRunning = known.some((lane) => lane.is_running);
    const isOver = known.every(({ error, state }) => error || state === "finished" || state === "diverged");
    return html`
      <canvas class="chart race"></canvas>
      ${table("The forks", "lanes", HEADS, known.map((lane, i) => this.row(names[i], lane, i)))}
      <p class="buttons">
        ${button("Stop", () => this.view.send("stop"), !isRunning)}
        ${button("Go on", () => this.view.send("go on", { runs: names }), isRunning || isOver)}
      </p>`;
  }

  /** @param {string} name @param {Partial<time_machine.Lane>} lane @param {number} i */
  row(name, { state = "", error, sentence, settings, step, steps, epochs, from, loss, ...lane }, i) {
    const says = error ?? sentence ?? STATES[state] ?? (state || "…");
    const numbers = [
      settings ? figure(settings.lr) : "",
      steps ? `${step} of ${steps}` : epochs ? `epoch ${epochs}` : from ?? "",
      loss == null ? "" : figure(loss),
      lane.validation_accuracy == null ? "" : percent(lane.validation_accuracy),
    ];
    return html`<tr data-run=${name} data-state=${state}>
      <td>${i ? "dashed" : "solid"}</td>
      <th scope="row">${name}</th>
      <td>${settings?.optimizer}</td>
      ${numbers.map((number) => html`<td class="number">${number}</td>`)}
      <td>${says}${lane.test_accuracy == null ? "" : `; its best weights read ${percent(lane.test_accuracy)} of the test images`}</td>
      <td>${button("Open", () => this.view.open(name, from ?? -1), !state)}</td>
    </tr>`;
  }
}
