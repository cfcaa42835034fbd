// @ts-check
// Arrays as squares to choose from, by mouse or arrow keys: the weights of a neuron, the terms of a sum.

import { html } from "./template.js";
import { ARROWS, isModified } from "./keys.js";
import { readable } from "./numbers.js";
import { contextOf, largest, signedColor } from "./pictures.js";

const WIDE = 440; // pixels that the squares fill, more or less

/** How tiles are laid out side by side, with a gap between them. @param {Tiles} cells */
export function layout({ values, height, width }) {
  const tiles = Math.ceil(values.length / (height * width));
  const columns = Math.max(1, Math.min(tiles, Math.round(Math.sqrt((tiles * (height + 1)) / (width + 1)))));
  const across = columns * (width + 1) - 1;
  return { tiles, columns, across, down: Math.ceil(tiles / columns) * (height + 1) - 1,
    size: Math.max(3, Math.min(28, Math.floor(WIDE / across))) };
}

/** The row and column of a square. @param {Tiles} cells @param {number} position */
export function locate(cells, position) {
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
    @click=${(event) => {
      const position = under(event, cells);
      if (position >= 0) cells.choose(position);
    }}
    @pointermove=${(event) => {
      const position = under(event, cells);
      event.currentTarget.title = position >= 0 ? readable(cells.values[position]) : "";
    }}
    @keydown=${(event) => key(event, cells)}></canvas>`;
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
  if (isModified(event) || !(event.key in ARROWS)) return;
  event.preventDefault();
  const [x, y] = ARROWS[event.key];
  const { row, column } = locate(cells, Math.max(0, cells.chosen));
  const beside = square(cells, row + y, column + x);
  const position = beside < 0 ? square(cells, row + 2 * y, column + 2 * x) : beside; // over the gap between two tiles
  if (position >= 0) cells.choose(position);
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
  const context = contextOf(canvas);
  const most = largest(cells.values);
  for (let i = 0; i < cells.values.length; i++) {
    const { row, column } = locate(cells, i);
    const bright = Math.round(255 * cells.values[i]);
    const color = cells.gray ? [bright, bright, bright] : signedColor(most ? cells.values[i] / most : 0);
    context.fillStyle = `rgb(${color.join(" ")})`;
    context.fillRect(column * size, row * size, size, size);
  }
  if (cells.chosen < 0) return;
  const { row, column } = locate(cells, cells.chosen);
  for (const [color, width] of /** @type {[string, number][]} */ ([["#fff", 6], ["#000", 3]])) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(column * size, row * size, size, size);
  }
}
