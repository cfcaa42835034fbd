// @ts-check
// Arrays as squares to choose from, by mouse or arrow keys: the weights of a neuron, the terms of a sum.

import { html } from "../vendor/lit-html.js";
import { readable } from "./numbers.js";
import { signedColor } from "./pictures.js";

const WIDE = 440; // pixels that the squares fill, more or less

/**
 * @typedef {object} Cells
 * @property {ArrayLike<number>} values tile by tile, row by row
 * @property {number} height of a tile, in squares
 * @property {number} width
 * @property {number} chosen the position in `values` that is marked; -1 for none
 * @property {(position: number) => void} choose a square was clicked, or an arrow key moved there
 * @property {(position: number) => void} [enter] Enter was pressed
 * @property {boolean} [gray] values from 0 to 1, black to white; otherwise blue below zero, orange above
 */

/** @param {Cells} cells */
function layout({ values, height, width }) {
  const tiles = Math.ceil(values.length / (height * width));
  const columns = Math.max(1, Math.min(tiles, Math.round(Math.sqrt((tiles * (height + 1)) / (width + 1)))));
  const across = columns * (width + 1) - 1;
  return { tiles, columns, across, down: Math.ceil(tiles / columns) * (height + 1) - 1,
    size: Math.max(3, Math.min(28, Math.floor(WIDE / across))) };
}

/** The row and column of a square. @param {Cells} cells @param {number} position */
function spot(cells, position) {
  const { columns } = layout(cells);
  const tile = Math.floor(position / (cells.height * cells.width));
  const inside = position % (cells.height * cells.width);
  return {
    row: Math.floor(tile / columns) * (cells.height + 1) + Math.floor(inside / cells.width),
    column: (tile % columns) * (cells.width + 1) + (inside % cells.width),
  };
}

/** The square at a row and column; -1 where there is none. @param {Cells} cells @param {number} row @param {number} column */
function square(cells, row, column) {
  const { height, width } = cells;
  const { columns, across, down } = layout(cells);
  const [y, x] = [row % (height + 1), column % (width + 1)];
  if (row < 0 || column < 0 || row >= down || column >= across || y === height || x === width) return -1;
  const tile = Math.floor(row / (height + 1)) * columns + Math.floor(column / (width + 1));
  const position = tile * height * width + y * width + x;
  return position < cells.values.length ? position : -1;
}

/**
 * Squares to choose from; call `paintCells` after each render.
 * @param {string} label what they are, and which is chosen @param {Cells} cells
 */
export function cells(label, cells) {
  return html`<canvas class="cells" tabindex="0" role="application" aria-label=${label} .cells=${cells}
    @click=${(/** @type {MouseEvent} */ event) => {
      const position = under(event, cells);
      if (position >= 0) cells.choose(position);
    }}
    @pointermove=${(/** @type {PointerEvent} */ event) => {
      const position = under(event, cells);
      /** @type {HTMLElement} */ (event.currentTarget).title = position >= 0 ? readable(cells.values[position]) : "";
    }}
    @keydown=${(/** @type {KeyboardEvent} */ event) => key(event, cells)}></canvas>`;
}

/** The square under the pointer; -1 for none. @param {MouseEvent} event @param {Cells} cells */
function under(event, cells) {
  const canvas = /** @type {HTMLCanvasElement} */ (event.currentTarget);
  const box = canvas.getBoundingClientRect();
  const { across, down } = layout(cells);
  const row = Math.floor(((event.clientY - box.top - canvas.clientTop) / canvas.clientHeight) * down);
  const column = Math.floor(((event.clientX - box.left - canvas.clientLeft) / canvas.clientWidth) * across);
  return square(cells, row, column);
}

/** @param {KeyboardEvent} event @param {Cells} cells */
function key(event, cells) {
  /** @type {Record<string, [number, number]>} */
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key in moves) {
    event.preventDefault();
    const [y, x] = moves[event.key];
    const { row, column } = spot(cells, Math.max(0, cells.chosen));
    for (const steps of [1, 2]) { // over the gap between two tiles
      const position = square(cells, row + steps * y, column + steps * x);
      if (position < 0) continue;
      cells.choose(position);
      return;
    }
  } else if (event.key === "Enter" && cells.enter) {
    event.preventDefault();
    cells.enter(Math.max(0, cells.chosen));
  }
}

/** Paint all squares inside an element. @param {Element} el */
export function paintCells(el) {
  for (const canvas of /** @type {NodeListOf<any>} */ (el.querySelectorAll("canvas.cells"))) paint(canvas, canvas.cells);
}

/** @param {HTMLCanvasElement} canvas @param {Cells} cells */
function paint(canvas, cells) {
  const { across, down, size } = layout(cells);
  canvas.width = across * size;
  canvas.height = down * size;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  let most = 0;
  for (let i = 0; i < cells.values.length; i++) most = Math.max(most, Math.abs(cells.values[i]));
  for (let i = 0; i < cells.values.length; i++) {
    const { row, column } = spot(cells, i);
    const bright = Math.round(255 * cells.values[i]);
    const color = cells.gray ? [bright, bright, bright] : signedColor(most ? cells.values[i] / most : 0);
    context.fillStyle = `rgb(${color.join(" ")})`;
    context.fillRect(column * size, row * size, size, size);
  }
  if (cells.chosen < 0) return;
  const { row, column } = spot(cells, cells.chosen);
  for (const [color, width] of /** @type {[string, number][]} */ ([["#fff", 6], ["#000", 3]])) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(column * size, row * size, size, size);
  }
}
