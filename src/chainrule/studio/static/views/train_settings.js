// @ts-check
// Train: the form with what to train.

import { html, nothing } from "../vendor/lit-html.js";
import { explain } from "../parts/explain.js";

/** @type {[string, string, string, string][]} label, key, sentence, lesson */
const NUMBERS = [
  ["Learning rate", "lr", "How far each step goes downhill: too short takes long, too long jumps over the valley.", "rolling-downhill"],
  ["Batch size", "batch_size", "How many examples one step looks at: the gradient of a few is a good guess at that of all.", "stochastic-gradient-descent"],
  ["Epochs", "epochs", "How often the network sees all examples.", "the-network-reads-digits"],
  ["Examples", "limit", "Train on the first ones only. With few, the network learns them by heart.", "learning-better"],
  ["Seed", "seed", "Where random numbers start: the same seed gives the same weights and the same order, to the last bit.", "stochastic-gradient-descent"],
];

/**
 * @param {any} choices what there is to choose from; null until the server has said
 * @param {(key: string) => any} get @param {(key: string, value: string | number) => void} set
 */
export function settingsForm(choices, get, set) {
  if (!choices) return html`<p class="quiet">Looking what there is…</p>`;
  const data = choices.data.find((/** @type {any} */ entry) => entry.name === get("data")) ?? choices.data[0];
  const models = choices.models.filter((/** @type {any} */ entry) => entry.task === data.task);
  const model = models.find((/** @type {any} */ entry) => entry.name === get("model"));
  const optimizer = choices.optimizers.find((/** @type {any} */ entry) => entry.name === get("optimizer"));
  const usual = { ...model, lr: optimizer && optimizer.name !== model?.optimizer ? optimizer.lr : model?.lr, limit: "all", seed: 0 };
  const pick = (/** @type {string} */ key) => (/** @type {any} */ e) => {
    set(key, e.target.value);
    if (key !== "data") return;
    const task = choices.data.find((/** @type {any} */ entry) => entry.name === e.target.value).task;
    const fits = choices.models.filter((/** @type {any} */ entry) => entry.task === task);
    if (!fits.some((/** @type {any} */ entry) => entry.name === get("model"))) set("model", fits[0].name);
  };
  const select = (/** @type {string} */ label, /** @type {string} */ key, /** @type {string[]} */ names, /** @type {string} */ own, /** @type {any} */ more = nothing) => html`
    <div><label>${label}
      <select name=${key} @change=${pick(key)}>
        ${own ? html`<option value="" ?selected=${!get(key)}>${own}</option>` : nothing}
        ${names.map((name) => html`<option value=${name} ?selected=${get(key) === name}>${name}</option>`)}
      </select></label>${more}</div>`;
  const names = (/** @type {any[]} */ entries) => entries.map((entry) => entry.name);
  return html`
    <form class="fields" @submit=${(/** @type {Event} */ e) => e.preventDefault()}>
      ${select("Data", "data", names(choices.data), "")}
      ${select("Model", "model", names(models), "", explain(model ? `${model.name}: ${model.about}.` : "", undefined, "the model"))}
      ${select("Optimizer", "optimizer", names(choices.optimizers), `${model?.optimizer ?? ""} (default)`,
        explain("How a step is made of the gradient: straight downhill, with momentum, or with a rate of its own for each weight.", "optimizers", "the optimizer"))}
      ${select("Rate over time", "schedule", choices.schedules, `${model?.schedule ?? ""} (default)`,
        explain("Constant, or small at first and in the end: long steps to get there, short ones to settle.", "learning-better", "the schedule"))}
      ${NUMBERS.map(([label, key, sentence, lesson]) => html`
        <div><label>${label}
          <input name=${key} type="number" min="0" step=${key === "lr" ? "any" : "1"} placeholder=${usual[key] ?? ""}
            .value=${get(key) ? String(get(key)) : ""}
            @change=${(/** @type {any} */ e) => set(key, Number(e.target.value) || 0)}></label>
          ${explain(sentence, lesson, label)}</div>`)}
    </form>
    <p class="quiet">An empty field uses the model's default, which it shows in gray.</p>`;
}
