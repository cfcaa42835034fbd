// @ts-check
// Train: the form with what to train.

import { explain } from "../parts/elements.js";
import { numberField, select } from "../parts/fields.js";
import { html } from "../parts/template.js";

/** @type {[label: string, key: string, sentence: string, lesson: string][]} */
const NUMBERS = [
  ["Learning rate", "lr", "How far each step goes downhill: too short takes long, too long jumps over the valley.", "rolling-downhill"],
  ["Batch size", "batch_size", "How many examples one step looks at: the gradient of a few is a good guess at that of all.", "stochastic-gradient-descent"],
  ["Epochs", "epochs", "How often the network sees all examples.", "the-network-reads-digits"],
  ["Examples", "limit", "Train on the first ones only. With few, the network learns them by heart.", "learning-better"],
  ["Seed", "seed", "Where random numbers start: the same seed gives the same weights and the same order, to the last bit.", "stochastic-gradient-descent"],
];

/**
 * @param {training.Choices} choices what there is to choose from
 * @param {(key: string) => any} get @param {(settings: Record<string, Value>) => void} set
 */
export function settingsForm({ data, models, optimizers, schedules }, get, set) {
  const modelsFor = (/** @type {string} */ name) => {
    const { task } = data.find((entry) => entry.name === name) ?? data[0];
    return models.filter((entry) => entry.task === task);
  };
  const setData = (/** @type {string} */ name) => {
    const fitting = modelsFor(name).map((entry) => entry.name);
    set({ data: name, model: fitting.includes(get("model")) ? get("model") : fitting[0] });
  };
  const fitting = modelsFor(get("data"));
  const model = fitting.find(({ name }) => name === get("model"));
  const optimizer = optimizers.find(({ name }) => name === get("optimizer"));
  const rate = optimizer && optimizer.name !== model?.optimizer ? optimizer.lr : model?.lr;
  /** What an empty field means. @type {Record<string, any>} */
  const usual = { ...model, lr: rate, limit: "all", seed: 0 };
  const names = (/** @type {{ name: string }[]} */ entries) => entries.map(({ name }) => name);
  const choice = (/** @type {string} */ label, /** @type {string} */ key, /** @type {string[]} */ values) =>
    select(label, values, get(key), (value) => set({ [key]: value }),
      { title: (value) => value || `${usual[key] ?? ""} (default)`, name: key });
  return html`
    <div class="grid">
      <div>${select("Data", names(data), get("data"), setData, { name: "data" })}</div>
      <div>${choice("Model", "model", names(fitting))}
        ${explain(model ? `${model.name}: ${model.about}.` : "", undefined, "the model")}</div>
      <div>${choice("Optimizer", "optimizer", ["", ...names(optimizers)])}
        ${explain("How a step is made of the gradient: straight downhill, with momentum, or with a rate of its own for each weight.", "optimizers", "the optimizer")}</div>
      <div>${choice("Rate over time", "schedule", ["", ...schedules])}
        ${explain("Constant, or small at first and in the end: long steps to get there, short ones to settle.", "learning-better", "the schedule")}</div>
      ${NUMBERS.map(([label, key, sentence, lesson]) => html`
        <div>${numberField(label, get(key) || "", (value) => set({ [key]: value }),
            { step: key === "lr" ? "any" : "1", hint: String(usual[key] ?? ""), emptied: 0, name: key })}
          ${explain(sentence, lesson, label)}</div>`)}
    </div>
    <p class="quiet">An empty field uses the model's default, which it shows in gray.</p>`;
}
