// @ts-check
// The wires between the neurons of a diagram: wide for large weights; solid if positive, dashed if negative.

import { isDark } from "../parts/chart.js";
import { contextOf, sharp } from "../parts/pictures.js";

const COLORS = { light: ["#1f66ac", "#b84f00"], dark: ["#79b8f2", "#ff9d4d"] };
const REACH = 10; // pixels around a wire in which the pointer touches it

/** @typedef {playground.Wire & { path: Path2D }} Wire */

/** The wires of a diagram, whose neurons are elements with the data `column` and `row`. */
export class Wires {
  /** @param {HTMLElement} root the diagram @param {HTMLCanvasElement} canvas behind its neurons */
  constructor(root, canvas) {
    this.root = root;
    this.canvas = canvas;
    this.context = contextOf(canvas);
    /** @type {Wire[]} */
    this.wires = [];
    this.shape = "";
  }

  /** Find where the neurons are, if that may have changed. */
  layOut() {
    const box = this.root.getBoundingClientRect();
    /** @type {HTMLElement[]} */
    const units = Array.from(this.root.querySelectorAll("[data-column][data-live]"));
    const centers = units.map((unit) => {
      const own = unit.getBoundingClientRect();
      return { left: own.left - box.left, right: own.right - box.left, y: (own.top + own.bottom) / 2 - box.top, unit };
    });
    const shape = JSON.stringify([box.width, box.height, centers.map(({ left, y }) => [left, y])]);
    if (shape === this.shape) return;
    this.shape = shape;
    /** @type {(typeof centers)[]} */
    const columns = [];
    for (const center of centers) (columns[Number(center.unit.dataset.column)] ??= []).push(center);
    this.wires = [];
    for (let layer = 0; layer + 1 < columns.length; layer++) {
      columns[layer + 1].forEach((end, to) => {
        columns[layer].forEach((start, from) => {
          const path = new Path2D();
          const middle = (start.right + end.left) / 2;
          path.moveTo(start.right, start.y);
          path.bezierCurveTo(middle, start.y, middle, end.y, end.left, end.y);
          this.wires.push({ layer, from, to, path });
        });
      });
    }
    this.context = sharp(this.canvas, box.width, box.height);
  }

  /**
   * @param {(wire: Wire) => number} weight of a wire
   * @param {(wire: Wire) => boolean} chosen whether it is drawn in front, at full strength
   */
  paint(weight, chosen) {
    this.layOut();
    const { context } = this;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const [below, above] = isDark(this.canvas) ? COLORS.dark : COLORS.light;
    const isAnyChosen = this.wires.some(chosen);
    for (const front of [false, true]) {
      for (const wire of this.wires) {
        if (chosen(wire) !== front) continue;
        const value = weight(wire);
        context.globalAlpha = isAnyChosen && !front ? 0.3 : 0.9;
        context.strokeStyle = value < 0 ? below : above;
        context.lineWidth = Math.min(6, 0.5 + 1.3 * Math.abs(value)) || 0.5;
        context.setLineDash(value < 0 ? [5, 4] : []);
        context.stroke(wire.path);
      }
    }
    context.globalAlpha = 1;
  }

  /** The wire under the pointer, or null. @param {MouseEvent} event @returns {Wire | null} */
  at(event) {
    const box = this.root.getBoundingClientRect();
    const ratio = devicePixelRatio || 1; // isPointInStroke takes pixels of the canvas
    const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    const { context } = this;
    context.setLineDash([]);
    for (const width of [3, REACH]) {
      context.lineWidth = width;
      const wire = this.wires.findLast(({ path }) => context.isPointInStroke(path, x, y));
      if (wire) return wire;
    }
    return null;
  }
}
