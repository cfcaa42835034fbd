// @ts-check
// What the playground's page consists of.

import { html, nothing } from "../vendor/lit-html.js";
import { figure } from "../parts/chart.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import {
  ACTIVATIONS, BATCHES, DATA, DECAYS, FEATURES, MOST, OPTIMIZERS, RATES, SPEEDS, STOPS, SYMBOLS, TRIES, areClasses, canCount,
  isOwn,
} from "./playground_choices.js";
import { SHAPES } from "./playground_plane.js";

/** @typedef {import("./playground.js").Playground} Playground */

const COLORS = "Each neuron adds up its inputs times its weights, plus a bias, and bends the sum. Orange solid wires add, "
  + "blue dashed ones subtract; wide ones count more.";
const LOSS = "The loss says how wrong the network is; training makes it smaller. Validation points are never trained on, so "
  + "they show whether it understood or learned by heart.";

/** @param {Playground} view */
export function page(view) {
  const { frame } = view;
  return html`
    <p class="lead">Press Play, and the network changes its wires until the colors fit the points. Then change anything: it
      begins again from the same start.</p>
    <div class="bar">
      <button class="primary" @click=${() => view.play()}>${view.isPlaying ? "❚❚ Pause" : "▶ Play"}</button>
      <button @click=${() => view.step()}>One step</button>
      <button @click=${() => { view.pause(); view.restart(); }}>Start over</button>
      <button @click=${() => view.change({ start: view.get("start") + 1 })}>New random start</button>
    </div>
    <div class="bar now">
      <p class="count"><strong>Epoch ${(frame?.epoch ?? 0).toLocaleString("en")}</strong>
        <span class="quiet">step ${(frame?.step ?? 0).toLocaleString("en")}</span></p>
      <p class=${view.mistake || frame?.fault ? "message notice" : "message"} role="status">${view.mistake || view.message}</p>
    </div>
    <div class="stage">${points(view)} ${network(view)}</div>
    <div class="columns">${results(view)} ${settings(view)}</div>
    <section aria-labelledby="try-title">
      <h2 id="try-title">Try this</h2>
      <ul class="tries">${TRIES.map(([title, lesson, state]) => html`<li>
        <button @click=${() => view.tryThis(state)}>${title}</button>
        ${explain("Press it, then Play, and watch. A lesson tells why it happens.", lesson, title)}</li>`)}</ul>
      ${view.program && !view.isPlaying ? code(view.program) : nothing}
    </section>`;
}

/** The plane, what can be set on it, and the kinds of data. @param {Playground} view */
function points(view) {
  const { large, scene } = view;
  const data = view.get("data");
  const label = scene?.count ? `${scene.count} points, ${scene.train} of them for training. ` : "";
  return html`<section aria-labelledby="plane-title">
    <h2 id="plane-title">${large ? `What ${view.network.name(large).toLowerCase()} answers` : "The points, and what the network says"}</h2>
    <canvas class="plane" tabindex="0" role="application" aria-label=${label + (view.isPlaying ? "" : view.sentence())}
      aria-describedby="plane-keys" @click=${on((e) => view.click(e))} @keydown=${on((e) => view.planeKey(e))}
      @dragover=${on((e) => e.preventDefault())} @drop=${on((e) => { e.preventDefault(); view.takeData(e.dataTransfer); })}
      @paste=${on((e) => view.takeData(e.clipboardData))}></canvas>
    <div class="kinds" role="group" aria-label="Data">Data: ${DATA.map(([name, title]) => html`
      <button aria-pressed=${name === data} @click=${() => view.chooseData(name)}>${title}</button>`)}</div>
    <div class="brushes" role="group" aria-label="New points">
      <span>Click to add:</span>
      ${areClasses(data)
        ? Array.from({ length: view.network.classes }, (_, k) => html`
          <button class=${`class${k}`} aria-pressed=${view.brush === k} aria-label=${`Class ${k + 1}`}
            @click=${() => view.choose(k)}>${SHAPES[k]} ${k + 1}</button>`)
        : html`<label>value <output>${view.value}</output> <input type="range" min="-1" max="1" step="0.1"
            .value=${String(view.value)} @input=${on((e) => view.choose(Number(e.target.value)))}></label>`}
      ${isOwn(data) ? html`
        <button @click=${() => view.removePoint()} ?disabled=${!view.get("own")}>Undo</button>
        <button @click=${() => view.change({ own: "" })} ?disabled=${!view.get("own")}>Clear</button>` : nothing}
      <label class="file">Load a CSV file<input type="file" accept=".csv,.tsv,.txt,text/csv"
        @change=${on((e) => { view.takeFile(e.target.files[0]); e.target.value = ""; })}></label>
    </div>
    <p class="quiet">Filled points are for training, rings for validation.</p>
    <p id="plane-keys" class="quiet keys">By keyboard: arrows move (Shift: a little), Space sets a point, 1 to 4 choose its class,
      Backspace takes one away. A CSV file can be dropped or pasted here.</p>
  </section>`;
}

/** The diagram, and what can be changed of it. @param {Playground} view */
function network(view) {
  const { layers } = view.network;
  return html`<section aria-labelledby="net-title">
    <h2 id="net-title">The network ${explain(COLORS, "neurons", "the network")}</h2>
    <div class="bar">
      <span>${layers.length} hidden layer${layers.length === 1 ? "" : "s"}</span>
      <button aria-label="Remove the last layer" ?disabled=${!layers.length}
        @click=${() => view.setLayers(layers.slice(0, -1))}>−</button>
      <button aria-label="Add a layer" ?disabled=${layers.length >= MOST.layers}
        @click=${() => view.setLayers([...layers, layers.at(-1) ?? 4])}>+</button>
      ${select(view, "activation", ACTIVATIONS, "Activation")}
    </div>
    <div class="scroll"><div class="net" role="group" aria-label="Inputs and neurons" aria-describedby="unit-text"
        @pointermove=${on((e) => view.hover(e))} @pointerdown=${on((e) => view.hover(e))}>
      <canvas class="wires" aria-hidden="true"></canvas>
      <div class="column inputs"><span class="head">Inputs</span>
        ${FEATURES.map((name, row) => unit(view, 0, row, view.network.features.includes(name)))}</div>
      ${layers.map((width, index) => html`<div class="column">
        <span class="head">Layer ${index + 1}</span>
        <span class="resize">
          <button aria-label=${`One neuron less in layer ${index + 1}`} ?disabled=${width <= 1}
            @click=${() => view.setLayers(layers.with(index, width - 1))}>−</button>
          <button aria-label=${`One neuron more in layer ${index + 1}`} ?disabled=${width >= MOST.neurons}
            @click=${() => view.setLayers(layers.with(index, width + 1))}>+</button>
        </span>${units(view, index + 1, width)}</div>`)}
      <div class="column"><span class="head">Output</span>${units(view, layers.length + 1, view.network.outputs)}</div>
    </div></div>
    <p id="unit-text" class="spoken">Arrows move. Enter switches an input, or shows a neuron's answer large.</p>
    <p class="formula" id="formula">${view.description()}</p>
  </section>`;
}

/** @param {Playground} view @param {number} column @param {number} count */
const units = (view, column, count) => Array.from({ length: count }, (_, row) => unit(view, column, row, true));

/** @param {Playground} view @param {number} column @param {number} row @param {boolean} isOn */
function unit(view, column, row, isOn) {
  const each = { column, row };
  return html`<button class="unit" data-column=${column} data-row=${row} ?data-live=${isOn} aria-label=${view.network.name(each)}
    tabindex=${view.isTabStop(each) ? 0 : -1} aria-pressed=${column ? view.isLarge(each) : isOn} aria-describedby="formula"
    @click=${() => view.press(each)} @focus=${() => view.focus(each)} @keydown=${on((e) => view.unitKey(e, each))}>
    <canvas width="32" height="32"></canvas>${column ? nothing : html`<span>${SYMBOLS[row]}</span>`}</button>`;
}

/** @param {Playground} view */
function results({ frame, get }) {
  return html`<section aria-labelledby="learn-title">
    <h2 id="learn-title">How well it does ${explain(LOSS, "learning-better", "the numbers")}</h2>
    <table class="numbers">
      <thead><tr><td></td><th scope="col">Training (line)</th><th scope="col">Validation (dashes)</th></tr></thead>
      <tbody>
        <tr><th scope="row">Loss</th><td>${loss(frame?.train_loss)}</td><td>${loss(frame?.validation_loss)}</td></tr>
        ${areClasses(get("data")) ? html`<tr><th scope="row">Accuracy</th>
          <td>${percent(frame?.train_accuracy)}</td><td>${percent(frame?.validation_accuracy)}</td></tr>` : nothing}
      </tbody>
    </table>
    <canvas class="curves"></canvas>
  </section>`;
}

/** @param {Playground} view */
function settings(view) {
  const data = view.get("data");
  return html`<section aria-labelledby="set-title">
    <h2 id="set-title">Settings</h2>
    <div class="settings">
      <label>Speed <select @change=${on((e) => view.setSpeed(e.target.value))}>
        ${Object.keys(SPEEDS).map((name) => html`<option .selected=${name === view.get("speed")}>${name}</option>`)}
      </select></label>
      ${stop(view)}
      ${isOwn(data) ? nothing : [range(view, "count", "Points", 10, 1000, 10), range(view, "noise", "Noise", 0, 0.5, 0.01)]}
      ${range(view, "train", "For training", 10, 100, 5, "%")}
      ${canCount(data) ? select(view, "classes", [2, 3, 4], "Classes") : nothing}
      ${select(view, "rate", RATES, "Learning rate")}
      ${select(view, "optimizer", OPTIMIZERS, "Optimizer")}
      ${select(view, "batch", BATCHES, "Batch size", (value) => (value ? String(value) : "all"))}
      ${select(view, "decay", DECAYS, "Weight decay")}
      ${seed(view, "seed", "Seed of the data")}
      ${seed(view, "start", "Seed of the start")}
    </div>
  </section>`;
}

/**
 * @param {Playground} view @param {string} key @param {any[]} values @param {string} label
 * @param {(value: any) => string} [text]
 */
function select(view, key, values, label, text = String) {
  const now = view.get(key);
  const all = values.includes(now) ? values : [...values, now];
  return html`<label>${label}
    <select @change=${on((e) => view.change({ [key]: all[e.target.selectedIndex] }))}>
      ${all.map((value) => html`<option .selected=${value === now}>${text(value)}</option>`)}
    </select></label>`;
}

/**
 * @param {Playground} view @param {string} key @param {string} label @param {number} low @param {number} high
 * @param {number} step @param {string} [after]
 */
function range(view, key, label, low, high, step, after = "") {
  return html`<label>${label} <output>${figure(view.get(key))}${after}</output>
    <input type="range" min=${low} max=${high} step=${step} .value=${String(view.get(key))}
      @input=${on((e) => view.change({ [key]: Number(e.target.value) }))}></label>`;
}

/** When the run stops: a condition, and its number. @param {Playground} view */
function stop(view) {
  const [, now, value] = /** @type {RegExpMatchArray} */ (view.get("stop").match(/^([^-]*)-?(.*)$/s));
  const kinds = Object.keys(STOPS).filter((kind) => kind !== "accuracy" || areClasses(view.get("data")));
  const set = (/** @type {string} */ kind, /** @type {string} */ number) => view.change({ stop: kind && `${kind}-${number}` });
  return html`<label>Stop <select @change=${on((e) => set(kinds[e.target.selectedIndex], STOPS[kinds[e.target.selectedIndex]][1]))}>
      ${kinds.map((kind) => html`<option .selected=${kind === now}>${STOPS[kind][0]}</option>`)}</select>
    ${now ? html`<input type="number" min="0" step="any" aria-label="The number to stop at" .value=${value}
      @change=${on((e) => set(now, e.target.value))}>` : nothing}</label>`;
}

/** @param {Playground} view @param {string} key @param {string} label */
function seed(view, key, label) {
  return html`<label>${label}
    <input type="number" min="0" max="2147483648" .value=${String(view.get(key))}
      @change=${on((e) => view.change({ [key]: Math.max(0, Math.floor(e.target.value) || 0) }))}></label>`;
}

/** A listener. @param {(event: any) => void} listener */
const on = (listener) => listener;

/** @param {number | null | undefined} value */
export const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)}%`);

/** @param {number | null | undefined} value */
export const loss = (value) => (value == null ? "–" : value < 1e5 ? value.toFixed(4) : value.toExponential(2));
