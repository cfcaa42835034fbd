// @ts-check
// What the playground's page consists of.

import { code, explain, section } from "../parts/elements.js";
import { button, numberField, select, slider, toggle } from "../parts/fields.js";
import { figure, percent, thousands } from "../parts/numbers.js";
import { html, nothing } from "../parts/template.js";
import { MOST, SPEEDS, areClasses, canCount, isOwn } from "./playground_choices.js";
import { SHAPES } from "./playground_plane.js";

/** @typedef {import("./playground.js").Playground} Playground */

const COLORS = "Each neuron adds up its inputs times its weights, plus a bias, and bends the sum. Orange solid wires add, "
  + "blue dashed ones subtract; wide ones count more.";
const LOSS = "The loss says how wrong the network is; training makes it smaller. Validation points are never trained on, so "
  + "they show whether it understood or learned by heart.";

/** @param {Playground} view @param {playground.Choices} choices @returns {object} */
export function page(view, choices) {
  const { frame, error } = view;
  const again = () => {
    view.pause();
    view.restart();
  };
  return html`
    <p class="lead">Press Play, and the network changes its wires until the colors fit the points. Then change anything: it
      begins again from the same start.</p>
    <div class="buttons">
      ${button(view.isPlaying ? "❚❚ Pause" : "▶ Play", () => view.play(), false, "primary")}
      ${button("One step", () => view.step())}
      ${button("Start over", again)}
      ${button("New random start", () => view.change({ start: view.get("start") + 1 }))}
    </div>
    <div class="buttons now">
      <p class="count"><strong>Epoch ${thousands(frame?.epoch ?? 0)}</strong>
        <span class="quiet">step ${thousands(frame?.step ?? 0)}</span></p>
      <p class=${error || frame?.fault ? "message notice" : "message"} role="status">${error || view.message}</p>
    </div>
    <div class="stage">${points(view, choices)} ${network(view, choices)}</div>
    <div class="columns">${results(view)} ${settings(view, choices)}</div>
    ${section("try", "Try this", html`
      <ul class="list tries">${choices.tries.map(([title, lesson, state]) => html`<li>
        ${button(title, () => view.tryThis(state))}
        ${explain("Press it, then Play, and watch. A lesson tells why it happens.", lesson, title)}</li>`)}</ul>
      ${view.program && !view.isPlaying ? code(view.program) : nothing}`)}`;
}

/** The plane, what can be set on it, and the kinds of data. @param {Playground} view @param {playground.Choices} choices */
function points(view, choices) {
  const { large, scene } = view;
  const data = view.get("data");
  const label = scene?.count ? `${scene.count} points, ${scene.train} of them for training. ` : "";
  const isNothing = !view.get("own");
  const upload = (/** @type {any} */ { target }) => {
    view.takeFile(target.files[0]);
    target.value = "";
  };
  return section("plane", large ? `What ${view.network.name(large).toLowerCase()} answers` : "The points, and what the network says", html`
    <canvas class="plane" tabindex="0" role="application" aria-label=${label + (view.isPlaying ? "" : view.sentence())}
      aria-describedby="plane-keys" @click=${(e) => view.click(e)} @keydown=${(e) => view.planeKey(e)}></canvas>
    <div class="buttons small" role="group" aria-label="Data">Data: ${Object.entries(choices.data).map(([name, title]) =>
      toggle(title, name === data, () => view.chooseData(name)))}</div>
    <div class="buttons small" role="group" aria-label="New points">
      <span>Click to add:</span>
      ${areClasses(data)
        ? Array.from({ length: view.network.classes }, (_, k) =>
          toggle(html`<span class=${`class${k}`}>${SHAPES[k]} ${k + 1}</span>`, view.brush === k, () => view.choose(k), `Class ${k + 1}`))
        : slider("value", view.value, (value) => view.choose(value), { min: -1, max: 1, step: 0.1 })}
      ${isOwn(data) ? [button("Undo", () => view.removePoint(), isNothing), button("Clear", () => view.change({ own: "" }), isNothing)] : nothing}
      <label class="file">Load a CSV file<input type="file" accept=".csv,.tsv,.txt,text/csv" @change=${upload}></label>
    </div>
    <p class="quiet">Filled points are for training, rings for validation.</p>
    <p id="plane-keys" class="quiet keys">By keyboard: arrows move (Shift: a little), Space sets a point, 1 to 4 choose its class,
      Backspace takes one away.</p>`);
}

/** The diagram, and what can be changed of it. @param {Playground} view @param {playground.Choices} choices */
function network(view, { activations }) {
  const { layers, features, inputs, outputs } = view.network;
  const resize = (/** @type {number} */ index, /** @type {number} */ width) => view.setLayers(layers.with(index, width));
  return section("net", "The network", html`
    <div class="buttons">
      <span>${layers.length} hidden layer${layers.length === 1 ? "" : "s"}</span>
      ${sizeButton("−", "Remove the last layer", () => view.setLayers(layers.slice(0, -1)), !layers.length)}
      ${sizeButton("+", "Add a layer", () => view.setLayers([...layers, layers.at(-1) ?? 4]), layers.length >= MOST.layers)}
      ${choice(view, "Activation", "activation", activations)}
    </div>
    <div class="scroll"><div class="net" role="group" aria-label="Inputs and neurons" aria-describedby="unit-text"
        @pointermove=${(e) => view.hover(e)} @pointerdown=${(e) => view.hover(e)}>
      <canvas class="wires" aria-hidden="true"></canvas>
      <div class="column inputs"><span class="head">Inputs</span>
        ${inputs.map((name, row) => unit(view, 0, row, features.includes(name)))}</div>
      ${layers.map((width, index) => html`<div class="column">
        <span class="head">Layer ${index + 1}</span>
        <span class="resize">
          ${sizeButton("−", `One neuron less in layer ${index + 1}`, () => resize(index, width - 1), width <= 1)}
          ${sizeButton("+", `One neuron more in layer ${index + 1}`, () => resize(index, width + 1), width >= MOST.neurons)}
        </span>${units(view, index + 1, width)}</div>`)}
      <div class="column"><span class="head">Output</span>${units(view, layers.length + 1, outputs)}</div>
    </div></div>
    <p id="unit-text" class="spoken">Arrows move. Enter switches an input, or shows a neuron's answer large.</p>
    <p class="formula" id="formula">${view.description()}</p>`, [COLORS, "neurons"]);
}

/** @param {string} sign @param {string} label @param {() => void} act @param {boolean} off */
const sizeButton = (sign, label, act, off) => html`<button aria-label=${label} ?disabled=${off} @click=${act}>${sign}</button>`;

/** @param {Playground} view @param {number} column @param {number} count */
const units = (view, column, count) => Array.from({ length: count }, (_, row) => unit(view, column, row, true));

/** @param {Playground} view @param {number} column @param {number} row @param {boolean} isOn */
function unit(view, column, row, isOn) {
  const each = { column, row };
  return html`<button class="unit" data-column=${column} data-row=${row} ?data-live=${isOn} aria-label=${view.network.name(each)}
    tabindex=${view.isTabStop(each) ? 0 : -1} aria-pressed=${column ? view.isLarge(each) : isOn} aria-describedby="formula"
    @click=${() => view.press(each)} @focus=${() => view.focus(each)} @keydown=${(e) => view.unitKey(e, each)}>
    <canvas width="32" height="32"></canvas>${column ? nothing : html`<span>${Object.values(view.network.symbols)[row]}</span>`}</button>`;
}

/** @param {Playground} view */
function results(view) {
  const { frame } = view;
  const row = (/** @type {string} */ name, /** @type {string} */ training, /** @type {string} */ validation) =>
    html`<tr><th scope="row">${name}</th><td>${training}</td><td>${validation}</td></tr>`;
  return section("learn", "How well it does", html`
    <table class="numbers">
      <thead><tr><td></td><th scope="col">Training</th><th scope="col">Validation</th></tr></thead>
      <tbody>
        ${row("Loss", loss(frame?.train_loss), loss(frame?.validation_loss))}
        ${areClasses(view.get("data")) ? row("Accuracy", percent(frame?.train_accuracy), percent(frame?.validation_accuracy)) : nothing}
      </tbody>
    </table>
    <canvas class="chart curves"></canvas>`, [LOSS, "learning-better"]);
}

/** @param {Playground} view @param {playground.Choices} choices */
function settings(view, { optimizers, stops, rates, batches, decays }) {
  const data = view.get("data");
  const slide = (/** @type {string} */ label, /** @type {string} */ key, /** @type {RangeOptions} */ limits, unit = "") =>
    slider(label, view.get(key), (value) => view.change({ [key]: value }), { ...limits, text: figure(view.get(key)) + unit });
  const seed = (/** @type {string} */ label, /** @type {string} */ key) =>
    numberField(label, view.get(key), (value) => view.change({ [key]: value }), { max: 2 ** 31 });
  return section("set", "Settings", html`
    <div class="grid">
      ${select("Speed", Object.keys(SPEEDS), view.get("speed"), (speed) => view.setSpeed(speed))}
      ${stop(view, stops)}
      ${isOwn(data) ? nothing : [
        slide("Points", "count", { min: 10, max: 1000, step: 10 }), slide("Noise", "noise", { min: 0, max: 0.5, step: 0.01 }),
      ]}
      ${slide("For training", "train", { min: 10, max: 100, step: 5 }, "%")}
      ${canCount(data) ? choice(view, "Classes", "classes", [2, 3, 4]) : nothing}
      ${choice(view, "Learning rate", "rate", rates)}
      ${choice(view, "Optimizer", "optimizer", optimizers)}
      ${choice(view, "Batch size", "batch", batches, (size) => size || "all")}
      ${choice(view, "Weight decay", "decay", decays)}
      ${seed("Seed of the data", "seed")}
      ${seed("Seed of the start", "start")}
    </div>`);
}

/** @param {Playground} view @param {string} label @param {string} key @param {Value[]} values @param {(value: Value) => Content} [title] */
const choice = (view, label, key, values, title) =>
  select(label, values, view.get(key), (value) => view.change({ [key]: value }), { title });

/** When the run stops: a condition, and its number. @param {Playground} view @param {playground.Choices["stops"]} stops */
function stop(view, stops) {
  const [, now, value] = /** @type {RegExpMatchArray} */ (view.get("stop").match(/^([^-]*)-?(.*)$/s));
  const kinds = ["", ...Object.keys(stops)].filter((kind) => kind !== "accuracy" || areClasses(view.get("data")));
  const set = (/** @type {string} */ kind, /** @type {string | number} */ number) => view.change({ stop: kind && `${kind}-${number}` });
  return [
    select("Stop", kinds, now, (kind) => set(kind, stops[kind]?.[1]), { title: (kind) => stops[kind]?.[0] ?? "by hand" }),
    now ? numberField("The number to stop at", Number(value), (number) => set(now, number), { step: "any" }) : nothing,
  ];
}

/** @param {number | null | undefined} value */
export const loss = (value) => (value == null ? "–" : value < 1e5 ? value.toFixed(4) : value.toExponential(2));
