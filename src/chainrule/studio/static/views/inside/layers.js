// @ts-check
// The layers: a button for each neuron or filter, colored by what it puts out, and the strongest wires between them.

import { moved } from "../../parts/keys.js";
import { largest, signed, signedColor } from "../../parts/pictures.js";
import { html, nothing, render, svg } from "../../parts/template.js";

const WIDEST = 5; // pixels of the strongest wire

export class Layers {
  /**
   * @param {{ point: (key: string) => void, choose: (key: string) => void, silence: (key: string) => void }} listener
   *   each gets "LAYER.NEURON"; `point` gets "" when the pointer leaves
   */
  constructor(listener) {
    this.listener = listener;
    /** @type {Map<number, number>} the neuron of each layer that Tab leads to */
    this.stops = new Map();
  }

  /** @param {inside.Network} network @param {inside.Look} look @param {string} chosen @param {string[]} silent */
  template({ layers, classes }, look, chosen, silent) {
    const [layer, neuron] = chosen ? chosen.split(".").map(Number) : [-1, -1];
    if (chosen && !this.stops.has(layer)) this.stops.set(layer, neuron);
    return html`<div class="layers" @pointerleave=${() => this.listener.point("")}>
      <svg class="wires" aria-hidden="true"></svg>
      ${layers.map(({ title, filters, size }, l) => html`
        <h3>${title}</h3>
        <div class=${`cells ${filters ? "maps" : ""}`} role="group" aria-label=${title} @keydown=${(e) => this.key(e, l, size)}>
          ${Array.from({ length: size }, (_, i) => {
            const isAnswer = l === layers.length - 1;
            const name = isAnswer ? `answer ${classes[i]}` : `${filters ? "filter" : "neuron"} ${i}`;
            const content = filters ? html`<canvas></canvas>` : isAnswer ? classes[i].replace("none", "–") : nothing;
            return this.cell(look, l, i, chosen === `${l}.${i}`, silent.includes(`${l}.${i}`), name, content);
          })}
        </div>`)}
    </div>`;
  }

  /**
   * @param {inside.Look} look @param {number} layer @param {number} neuron @param {boolean} isChosen @param {boolean} isSilent
   * @param {string} name @param {Content} content
   */
  cell(look, layer, neuron, isChosen, isSilent, name, content) {
    const key = `${layer}.${neuron}`;
    const value = Number(this.value(look, layer, neuron).toPrecision(3));
    return html`<button class=${isSilent ? "cell silent" : "cell"} data-key=${key} aria-pressed=${isChosen}
      aria-label=${`${name}: ${value}${isSilent ? ", silent" : ""}`}
      tabindex=${neuron === (this.stops.get(layer) ?? 0) ? 0 : -1}
      @pointerenter=${() => this.listener.point(key)} @focus=${() => this.listener.point(key)}
      @click=${() => this.listener.choose(isChosen ? "" : key)}
    >${content}</button>`;
  }

  /** What a neuron puts out; of a filter the largest. @param {inside.Look} look @param {number} layer @param {number} neuron */
  value({ shapes, outputs }, layer, neuron) {
    const [, height = 1, width = 1] = shapes[layer];
    return Math.max(...part(outputs[layer], neuron, height * width));
  }

  /** @param {KeyboardEvent} event @param {number} layer @param {number} size */
  key(event, layer, size) {
    const now = /** @type {HTMLElement} */ (event.target);
    const neuron = Number(now.dataset.key?.split(".")[1]);
    if (event.key === "Delete") return this.listener.silence(`${layer}.${neuron}`);
    if (event.key === "Escape") return this.listener.point("");
    const cells = /** @type {HTMLElement[]} */ ([...(now.parentElement?.children ?? [])]);
    const columns = Math.max(1, cells.filter((cell) => cell.offsetTop === cells[0].offsetTop).length);
    const next = moved(event, neuron, size, columns);
    if (next === null) return;
    this.stops.set(layer, next);
    now.tabIndex = -1;
    cells[next].tabIndex = 0;
    cells[next].focus();
  }

  /** @param {HTMLElement} el @param {inside.Look} look */
  paint(el, { shapes, outputs }) {
    const groups = el.querySelectorAll(".cells");
    outputs.forEach((values, layer) => {
      const [count, height = 1, width = 1] = shapes[layer];
      const most = largest(values);
      for (let i = 0; i < count; i++) {
        const cell = /** @type {HTMLElement} */ (groups[layer].children[i]);
        const canvas = cell.querySelector("canvas");
        if (canvas) signed(canvas, part(values, i, height * width), width, height, most);
        else {
          const [red, green, blue] = signedColor(most ? values[i] / most : 0);
          cell.style.backgroundColor = `rgb(${red} ${green} ${blue})`;
          cell.style.color = 0.3 * red + 0.59 * green + 0.11 * blue > 120 ? "#000" : "#fff";
        }
      }
    });
  }

  /**
   * Draw the wires of one neuron, or the strongest of all for this picture.
   * @param {HTMLElement} el @param {inside.Look} look @param {string} key @param {inside.Weights | undefined} weights
   */
  wire(el, look, key, weights) {
    const picture = /** @type {HTMLElement | null} */ (el.querySelector(".wires"));
    const frame = picture?.parentElement?.getBoundingClientRect();
    if (!picture || !frame) return;
    const middle = (/** @type {string} */ of) => {
      const box = el.querySelector(`[data-key="${of}"]`)?.getBoundingClientRect();
      return box ? [box.left + box.width / 2 - frame.left, box.top + box.height / 2 - frame.top] : [0, 0];
    };
    const wires = wiresOf(look, key, weights).filter(([, , strength]) => strength);
    const most = largest(wires.map(([, , strength]) => strength));
    render(svg`${wires.map(([from, to, strength]) => {
      const [[x1, y1], [x2, y2]] = [middle(from), middle(to)];
      return svg`<line x1=${x1} y1=${y1} x2=${x2} y2=${y2} class=${strength < 0 ? "against" : "for"}
        stroke-width=${Math.max(0.7, (WIDEST * Math.abs(strength)) / most)} />`;
    })}`, picture);
  }
}

/**
 * The wires to draw: the ends, and the strength.
 * @param {inside.Look} look @param {string} key @param {inside.Weights} [weights]
 */
function wiresOf(look, key, weights) {
  /** @type {[string, string, number][]} */
  const wires = [];
  if (!key) {
    look.wires.forEach((some, layer) => some.forEach(([from, to, flow]) => wires.push([`${layer - 1}.${from}`, `${layer}.${to}`, flow])));
  } else if (weights) {
    for (const [from, weight] of weights.in) wires.push([`${weights.layer - 1}.${from}`, key, weight]);
    for (const [to, weight] of weights.out) wires.push([key, `${weights.layer + 1}.${to}`, weight]);
  }
  return wires;
}

/** The i-th of equal parts. @template {Float32Array | Uint8Array} T @param {T} values @param {number} i @param {number} size */
export const part = (values, i, size) => /** @type {T} */ (values.subarray(i * size, (i + 1) * size));
