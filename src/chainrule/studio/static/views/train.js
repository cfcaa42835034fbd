// @ts-check
// Train: choose what to train, steer it while it runs, and watch the network learn.

import { bytes } from "../parts/arrays.js";
import { alert, code, explain, section, spoken } from "../parts/elements.js";
import { button, numberField } from "../parts/fields.js";
import { percent, thousands } from "../parts/numbers.js";
import { Pad } from "../parts/pad.js";
import { html, nothing } from "../parts/template.js";
import { View, module } from "../parts/view.js";
import { display, paint } from "./train_network.js";
import { settingsForm } from "./train_settings.js";

/** What the form has; what is left as it is, is the model's own. */
const SETTINGS = { optimizer: "", lr: 0, schedule: "", batch_size: 0, epochs: 0, seed: 0, limit: 0 };
export const defaults = { data: "mnist", model: "mlp", ...SETTINGS, run: "", sample: 0, strokes: "", keep: false };

const RETRY = 1000; // milliseconds until a page that got an error asks again
const DRAWN = 300; // milliseconds after the last stroke until the drawing is looked at
const BUSY = ["starting", "loading", "running", "paused", "searching"];
const ENDED = ["paused", "finished", "diverged", "stopped", "failed"]; // so that there is more to ask for

export class Train extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    /** @type {training.Choices | null} */
    this.choices = null;
    this.opening = ""; // the run that trains, which was found when the page came
    this.hasBegun = false;
    /** @type {training.Run} */
    this.run = /** @type {any} */ (null); // what the server says of the run that is shown
    /** @type {training.State} */
    this.state = { state: "idle" };
    /** @type {training.Frame | null} */
    this.frame = null;
    /** @type {DataView[]} */
    this.buffers = [];
    /** @type {training.Picture | null} */
    this.picture = null;
    this.number = 0; // of the newest news
    this.isAsking = false;
    this.program = "";
    this.pad = new Pad(this, { changed: (finished) => finished && this.drawn() });
    this.listen({
      choices: (choices) => this.takeChoices(choices),
      keep: ({ on }) => this.set({ keep: on }),
      run: (run) => {
        const isLate = this.hasBegun && run.run === this.opening; // another was begun meanwhile
        this.opening = "";
        if (!isLate) this.opened(run);
      },
      frame: (content, buffers) => {
        this.isAsking = false;
        if (content.run === this.run?.run) this.newest(content, buffers);
        else this.ask(); // it was of the run that was shown before
      },
      history: ({ run, records }) => run === this.run?.run && (this.run.records = records),
      picture: (picture, [values]) => (this.picture = { ...picture, values: bytes(values) }),
      code: ({ code }) => (this.program = code),
      error: ({ error }) => {
        this.error = error; // an alert, which is read aloud
        this.isAsking = this.hasBegun = false;
        this.later("retry", RETRY, () => this.ask());
      },
    }, () => this.begin());
    this.show();
    this.begin();
  }

  begin() {
    this.isAsking = false;
    this.number = 0;
    this.send("choices");
    if (this.get("keep")) this.send("keep", { on: true });
    if (this.get("run")) this.send("open", { run: this.get("run") });
  }

  // What the server says

  /** @param {training.Choices} choices */
  takeChoices(choices) {
    this.choices = choices;
    if (choices.training && !this.get("run")) {
      this.opening = choices.training;
      this.send("open", { run: choices.training });
    }
    if (choices.keep) this.set({ keep: true }); // another page said so
  }

  /** A run was begun or opened. @param {training.Run} run */
  opened(run) {
    this.run = run;
    this.error = this.program = "";
    this.frame = null;
    this.number = 0;
    this.state = { state: run.is_training ? "starting" : "idle" };
    this.update({ run: run.run });
    if (!run.is_training) this.askCode();
    this.look();
    this.ask();
  }

  /** @param {any} content @param {DataView[]} buffers */
  newest({ number, state, frame }, buffers) {
    const before = this.state;
    this.number = number;
    this.state = state;
    for (const key of ["changes", "lr", "result"]) if (state[key]) Object.assign(this.run, { [key]: state[key] });
    if (frame) [this.frame, this.buffers] = [frame, buffers];
    if (frame?.completed && frame.completed !== this.run.records.length) this.askHistory();
    if (before.state !== state.state) {
      if (before.state === "starting" && state.state !== "idle") this.look();
      const isEnded = ENDED.includes(state.state);
      this.spoken = isEnded ? this.sentence() : state.state === "running" ? "Training." : "";
      if (isEnded) {
        this.askHistory();
        this.askCode();
      }
    }
    requestAnimationFrame(() => this.ask());
  }

  /** Ask for the newest frame: the next one, once this one is painted. */
  ask() {
    if (this.isAsking || !this.run) return;
    this.isAsking = true;
    this.send("frame", { run: this.run.run, after: this.number });
  }

  askHistory() {
    this.send("history", { run: this.run.run });
  }

  askCode() {
    this.send("code", { run: this.run.run });
  }

  // What the person does

  start() {
    const settings = { data: this.get("data"), model: this.get("model") };
    for (const [key, own] of Object.entries(SETTINGS)) if (this.get(key) !== own) Object.assign(settings, { [key]: this.get(key) });
    this.error = "";
    this.hasBegun = true;
    this.send("start", { settings });
    this.show();
  }

  /** @param {string} what @param {object} [more] */
  steer(what, more) {
    this.error = "";
    this.send(what, { run: this.run.run, ...more });
    this.show();
  }

  /** Change the rate, and go on if training has come to an end. @param {number} lr @param {object} [more] */
  change(lr, more) {
    if (lr > 0) return this.steer("change", { lr, ...more });
    this.error = "The learning rate must be a number above 0.";
    this.show();
  }

  /** @param {Record<string, Value>} state */
  set(state) {
    this.update(state);
    this.show();
  }

  drawn() {
    this.pad.save();
    this.show();
    this.later("look", DRAWN, () => this.look());
  }

  /** Show the network the drawing, or a sample. */
  look() {
    const { run } = this;
    if (run?.task !== "images") return;
    if (this.pad.isEmpty) this.send("look", { run: run.run, sample: this.get("sample") });
    else this.send("look", { run: run.run }, [this.pad.png()]);
  }

  another() {
    this.pad.strokes = [];
    this.set({ strokes: "", sample: this.get("sample") + 1 });
    this.look();
  }

  // What is shown

  /** @returns {string} */
  sentence() {
    const { state, frame, run } = this;
    const step = thousands(state.step ?? frame?.step ?? 0);
    switch (state.state) {
      case "starting":
      case "loading":
        return "Starting, and loading the data…";
      case "running": {
        if (!frame) return "Training…";
        const speed = frame.speed ? `, ${thousands(Math.round(frame.speed))} steps a second` : "";
        return `Training: epoch ${frame.epoch} of ${frame.epochs}, step ${thousands(frame.step)} of ${thousands(frame.steps)}${speed}.`;
      }
      case "paused":
        return `Paused after step ${step}.`;
      case "searching":
        return "The loss is not a number any more: looking for the step where that began…";
      case "diverged":
        return `Training went wrong at step ${step}.`;
      case "finished":
        return `Finished: ${resultOf(state.result)}.`;
      case "failed":
        return state.sentence ?? "";
    }
    if (!run) return "Nothing is training.";
    if (run.result) return `This run is finished: ${resultOf(run.result)}.`;
    if (state.state === "stopped") return state.sentence ?? `Stopped and saved after step ${step}. Go on whenever you like.`;
    return `This run has done ${run.records.length} of ${run.epochs} epochs. Go on whenever you like.`;
  }

  paint() {
    this.el.dataset.state = this.state.state;
    this.el.dataset.step = String(this.frame?.step ?? "");
    this.pad.repaint();
    if (this.run) paint(this);
  }

  /** @returns {object} */
  template() {
    const { run, state } = this;
    const isBusy = BUSY.includes(state.state);
    return html`
      <p class="lead">Press Start, and watch a network learn. You can stop and go on whenever you like: everything is saved.</p>
      <p class="buttons">
        ${isBusy ? this.steering() : this.starting()}
        <label><input type="checkbox" .checked=${this.get("keep")} @change=${(e) => this.keep(e.target.checked)}>
          Keep running when this page is closed</label>
      </p>
      <p class="answer status">${this.sentence()}</p>
      ${alert(this.error || (state.refused ?? ""))}
      ${spoken(this.spoken)}
      ${state.state === "diverged" ? this.rescue() : nothing}
      ${run && isBusy ? this.rate() : nothing}
      <details ?open=${!run}>
        <summary>What to train, and how</summary>
        ${this.choices ? settingsForm(this.choices, (key) => this.get(key), (settings) => this.set(settings))
          : html`<p class="quiet">Looking what there is…</p>`}
      </details>
      ${run ? display(this) : nothing}
      ${run && this.program ? code(this.program) : nothing}`;
  }

  /** @param {boolean} on */
  keep(on) {
    this.set({ keep: on });
    this.send("keep", { on });
  }

  steering() {
    const isPaused = this.state.state === "paused";
    return [
      button(isPaused ? "Go on" : "Pause", () => this.steer(isPaused ? "go" : "pause"), false, "primary"),
      button("One step", () => this.steer("step")),
      button("Stop", () => this.steer("stop")),
    ];
  }

  starting() {
    const { run, frame, state: { state } } = this;
    const isOpen = run && run.run !== "shipped" && !run.result && ["idle", "stopped", "failed"].includes(state);
    return [
      button("Start", () => this.start(), !this.choices, state === "diverged" ? "" : "primary"),
      isOpen ? button("Go on with this run", () => this.steer("go")) : nothing,
      frame && state === "finished" ? button("One more epoch", () => this.steer("change", { epochs: frame.epochs + 1 })) : nothing,
    ];
  }

  /** Steering the rate. */
  rate() {
    const { frame, run: { lr, schedule, changes } } = this;
    return html`
      <div class="rate buttons">
        ${numberField("Learning rate", lr, (rate) => this.change(rate), { step: "any" })}
        ${button("Half", () => this.change(Number((lr / 2).toPrecision(6))))}
        ${button("Double", () => this.change(Number((lr * 2).toPrecision(6))))}
        ${explain(
          "How far each step goes downhill. A change is recorded in the run, so that it can be repeated to the last bit.",
          "rolling-downhill", "the learning rate",
        )}
      </div>
      <p class="quiet">${frame && schedule !== "constant" ? `${schedule} schedule: the rate is now ${Number(frame.rate.toPrecision(3))}. ` : ""}
        ${changes.map(({ epoch, step, settings: { lr: pair } }) =>
          pair && `From step ${thousands(epoch * (frame?.steps_per_epoch ?? 0) + step + 1)}: ${pair[1]} instead of ${pair[0]}. `)}</p>`;
  }

  /** What to do after NaN. */
  rescue() {
    const { step = 0, epoch, lr = 0, where, sentence, last_good: good } = this.state;
    const less = Number((lr / 10).toPrecision(3));
    const anew = () => {
      this.set({ lr: less });
      this.start();
    };
    return section("rescue", "The numbers have become too large", html`
      <p>In step ${thousands(step)}${epoch ? ` of epoch ${epoch}` : ""}, ${where ?? sentence}.
        A rate of ${lr} lets each step go too far, and the next one goes further still.
        ${explain("Downhill steps that are too long climb the other side, higher each time.", "rolling-downhill", "what happened")}</p>
      <p class="buttons">
        ${good == null ? nothing
          : button(`Go back to step ${thousands(good)}, and go on with rate ${less}`, () => this.change(less, { step: good }), false, "primary")}
        ${button(`Start over with rate ${less}`, anew)}
      </p>`, undefined, "notice rescue");
  }
}

/** @param {training.Result} [result] */
function resultOf(result) {
  if (!result) return "the best weights are saved";
  if ("test_accuracy" in result) return `${percent(result.test_accuracy, 2)} of the test images are read right`;
  const [name, value] = Object.entries(result)[0];
  return `${name.replace("_", " ")} ${value.toPrecision(4)}`;
}

export default module(Train);
