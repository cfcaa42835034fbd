// @ts-check
// The layers: a button for each neuron or filter, colored by what it puts out, and the strongest wires between them.

import { html, nothing, svg, render as put } from "../../vendor/lit-html.js";
import { signed, signedColor } from "../../parts/pictures.js";

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

  /** @param {import("../inside.js").Network} network @param {any} look @param {string} chosen @param {string[]} silent */
  template(network, look, chosen, silent) {
    const [layer, neuron] = chosen ? chosen.split(".").map(Number) : [-1, -1];
    if (chosen && !this.stops.has(layer)) this.stops.set(layer, neuron);
    return html`<div class="layers" @pointerleave=${() => this.listener.point("")}>
      <svg class="wires" aria-hidden="true"></svg>
      ${network.layers.map((each, l) => html`
        <h3>${each.title}</h3>
        <div class=${`cells ${each.filters ? "maps" : ""}`} role="group" aria-label=${each.title}
          @keydown=${(/** @type {KeyboardEvent} */ e) => this.key(e, l, each.size)}>
          ${Array.from({ length: each.size }, (_, i) => this.cell(network, look, l, i, chosen, silent))}
        </div>`)}
    </div>`;
  }

  /**
   * @param {import("../inside.js").Network} network @param {any} look @param {number} layer @param {number} neuron @param {string} chosen
   * @param {string[]} silent
   */
  cell(network, look, layer, neuron, chosen, silent) {
    const key = `${layer}.${neuron}`;
    const each = network.layers[layer];
    const isAnswer = layer === network.layers.length - 1;
    const isSilent = silent.includes(key);
    const value = Number(this.value(look, layer, neuron).toPrecision(3));
    const name = isAnswer ? `answer ${network.classes[neuron]}` : `${each.filters ? "filter" : "neuron"} ${neuron}`;
    return html`<button class=${isSilent ? "cell silent" : "cell"} data-key=${key} aria-pressed=${String(key === chosen)}
      aria-label=${`${name}: ${value}${isSilent ? ", silent" : ""}`}
      tabindex=${neuron === (this.stops.get(layer) ?? 0) ? 0 : -1}
      @pointerenter=${() => this.listener.point(key)} @focus=${() => this.listener.point(key)}
      @click=${() => this.listener.choose(key === chosen ? "" : key)}
    >${each.filters ? html`<canvas></canvas>` : isAnswer ? network.classes[neuron].replace("none", "–") : nothing}</button>`;
  }

  /** What a neuron puts out; of a filter the largest. @param {any} look @param {number} layer @param {number} neuron */
  value(look, layer, neuron) {
    const [, height = 1, width = 1] = look.shapes[layer];
    const size = height * width;
    let largest = -Infinity;
    for (let i = neuron * size; i < (neuron + 1) * size; i++) largest = Math.max(largest, look.outputs[layer][i]);
    return largest;
  }

  /** @param {KeyboardEvent} event @param {number} layer @param {number} size */
  key(event, layer, size) {
    const now = /** @type {HTMLElement} */ (event.target);
    const neuron = Number(now.dataset.key?.split(".")[1]);
    if (event.key === "Delete") return this.listener.silence(`${layer}.${neuron}`);
    if (event.key === "Escape") return this.listener.point("");
    const cells = /** @type {HTMLElement[]} */ ([...(now.parentElement?.children ?? [])]);
    const columns = Math.max(1, cells.filter((cell) => cell.offsetTop === cells[0].offsetTop).length);
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: neuron - 1, ArrowRight: neuron + 1, ArrowUp: neuron - columns, ArrowDown: neuron + columns,
      Home: 0, End: size - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = Math.min(size - 1, Math.max(0, moves[event.key]));
    this.stops.set(layer, next);
    now.tabIndex = -1;
    cells[next].tabIndex = 0;
    cells[next].focus();
  }

  /** @param {HTMLElement} el @param {any} look @param {string[]} silent */
  paint(el, look, silent) {
    const groups = el.querySelectorAll(".cells");
    look.outputs.forEach((/** @type {Float32Array} */ outputs, /** @type {number} */ layer) => {
      const [count, height = 1, width = 1] = look.shapes[layer];
      let most = 0;
      for (const value of outputs) most = Math.max(most, Math.abs(value));
      for (let i = 0; i < count; i++) {
        const cell = /** @type {HTMLElement} */ (groups[layer].children[i]);
        const canvas = cell.querySelector("canvas");
        if (canvas) signed(canvas, outputs.subarray(i * height * width, (i + 1) * height * width), width, height, most);
        else {
          const [red, green, blue] = signedColor(most ? outputs[i] / most : 0);
          cell.style.backgroundColor = `rgb(${red} ${green} ${blue})`;
          cell.style.color = 0.3 * red + 0.59 * green + 0.11 * blue > 120 ? "#000" : "#fff";
        }
      }
    });
  }

  /**
   * Draw the wires of one neuron, or the strongest of all for this picture.
   * @param {HTMLElement} el @param {any} look @param {string} key @param {any} weights
   */
  wire(el, look, key, weights) {
    const picture = /** @type {SVGElement | null} */ (el.querySelector(".wires"));
    const frame = picture?.parentElement?.getBoundingClientRect();
    if (!picture || !frame) return;
    const middle = (/** @type {string} */ of) => {
      const box = el.querySelector(`[data-key="${of}"]`)?.getBoundingClientRect();
      return box ? [box.left + box.width / 2 - frame.left, box.top + box.height / 2 - frame.top] : [0, 0];
    };
    /** @type {[string, string, number][]} */
    let wires = [];
    if (key && weights) {
      const { layer } = weights;
      wires = [
        ...weights.in.map((/** @type {number[]} */ [i, w]) => [`${layer - 1}.${i}`, key, w]),
        ...weights.out.map((/** @type {number[]} */ [i, w]) => [key, `${layer + 1}.${i}`, w]),
      ];
    } else if (!key) {
      wires = look.wires.flatMap((/** @type {number[][]} */ some, /** @type {number} */ layer) =>
        some.map(([source, neuron, flow]) => [`${layer - 1}.${source}`, `${layer}.${neuron}`, flow]));
    }
    const most = Math.max(1e-9, ...wires.map(([, , w]) => Math.abs(w)));
    put(svg`${wires.filter(([, , w]) => w).map(([from, to, w]) => {
      const [[x1, y1], [x2, y2]] = [middle(from), middle(to)];
      return svg`<line x1=${x1} y1=${y1} x2=${x2} y2=${y2} class=${w < 0 ? "against" : "for"}
        stroke-width=${Math.max(0.7, (WIDEST * Math.abs(w)) / most)} />`;
    })}`, picture);
  }
}
