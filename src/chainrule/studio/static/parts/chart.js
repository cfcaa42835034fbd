// @ts-check
// Lines over a common axis, on a canvas: losses, accuracies, sizes of gradients.

import { figure } from "./numbers.js";
import { sharp } from "./pictures.js";

const MARGIN = { left: 52, right: 20, top: 10, bottom: 34 };
const DASH = [6, 4];
const SAMPLE = 22; // pixels of a line beside its name

/** The colors of lines, for light and dark pages; the order also changes the line's width, never the color alone. */
const COLORS = { light: ["#0b5d87", "#b34700", "#1d7a3a", "#7a3ea1"], dark: ["#8fd0f5", "#ffb27a", "#86d99b", "#d3a8f0"] };

/** Whether it is on a dark page: as a notebook has chosen, or the system. @param {Element} element */
export const isDark = (element) => {
  const { colorScheme } = getComputedStyle(element);
  return colorScheme === "dark" || (colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
};

/**
 * Draw a chart as large as its canvas is on the page, and say in its label what it shows.
 * @param {HTMLCanvasElement | null} canvas null if it is not on the page @param {Chart} chart
 */
export function chart(canvas, { lines, x = "", y = "", log = false, low, high, mark }) {
  if (!canvas) return;
  const [width, height] = [canvas.clientWidth || 300, canvas.clientHeight || 160];
  const context = sharp(canvas, width, height);
  const style = getComputedStyle(canvas);
  const colors = isDark(canvas) ? COLORS.dark : COLORS.light;
  const usable = (/** @type {number} */ value) => Number.isFinite(value) && (!log || value > 0);

  context.font = `12px ${style.fontFamily}`;
  const names = placeNames(context, lines, width);
  const above = lines.length > 1 ? names[names.length - 1].y + MARGIN.top : MARGIN.top;

  let [left, right, bottom, top] = [Infinity, -Infinity, low ?? Infinity, high ?? -Infinity];
  for (const line of lines) {
    for (let i = 0; i < line.x.length; i++) {
      if (!usable(line.y[i])) continue;
      left = Math.min(left, line.x[i]);
      right = Math.max(right, line.x[i]);
      if (low === undefined) bottom = Math.min(bottom, line.y[i]);
      if (high === undefined) top = Math.max(top, line.y[i]);
    }
  }
  if (!(left <= right)) [left, right] = [0, 1];
  if (!(bottom <= top)) [bottom, top] = log ? [0.1, 1] : [0, 1];
  if (left === right) right = left + 1;
  if (bottom === top) [bottom, top] = log ? [bottom / 2, top * 2] : [bottom - 0.5, top + 0.5];

  const scale = log ? Math.log10 : (/** @type {number} */ value) => value;
  const [from, to] = [scale(bottom), scale(top)];
  const across = (/** @type {number} */ value) =>
    MARGIN.left + ((value - left) / (right - left)) * (width - MARGIN.left - MARGIN.right);
  const up = (/** @type {number} */ value) =>
    height - MARGIN.bottom - ((scale(value) - from) / (to - from)) * (height - above - MARGIN.bottom);

  context.fillStyle = style.color;
  context.strokeStyle = style.color;
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const tick of log ? decades(bottom, top) : ticks(bottom, top, 4)) {
    context.globalAlpha = 0.25;
    segment(context, MARGIN.left, up(tick), width - MARGIN.right, up(tick));
    context.globalAlpha = 1;
    context.fillText(figure(tick), MARGIN.left - 6, up(tick));
  }
  context.textAlign = "center";
  for (const tick of ticks(left, right, width < 500 ? 4 : 8)) {
    context.fillText(figure(tick), across(tick), height - MARGIN.bottom + 10);
  }
  context.textAlign = "right";
  context.fillText(x, width - MARGIN.right, height - 8);
  segment(context, MARGIN.left, height - MARGIN.bottom, width - MARGIN.right, height - MARGIN.bottom);
  if (mark !== undefined) segment(context, across(mark), above, across(mark), height - MARGIN.bottom);

  context.textAlign = "left";
  lines.forEach((line, number) => {
    context.strokeStyle = colors[(line.color ?? number) % colors.length];
    context.lineWidth = line.dashed ? 2.5 : 2;
    context.setLineDash(line.dashed ? DASH : []);
    context.beginPath();
    let open = false;
    for (let i = 0; i < line.x.length; i++) {
      if (!usable(line.y[i])) {
        open = false;
        continue;
      }
      if (open) context.lineTo(across(line.x[i]), up(line.y[i]));
      else context.moveTo(across(line.x[i]), up(line.y[i]));
      open = true;
    }
    if (line.x.length === 1) context.arc(across(line.x[0]), up(line.y[0]), 2, 0, 7); // a line of one point is a dot
    context.stroke();
    if (lines.length === 1) return;
    const { x, y } = names[number];
    segment(context, x, y, x + SAMPLE, y);
    context.fillText(line.name, x + SAMPLE + 5, y);
  });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", describe(lines, x, y));
}

/** Where the names of the lines stand above them. @param {CanvasRenderingContext2D} context @param {Line[]} lines @param {number} width */
function placeNames(context, lines, width) {
  let [x, y] = [MARGIN.left, 8];
  return lines.map(({ name }) => {
    const size = SAMPLE + context.measureText(name).width + 25;
    if (x > MARGIN.left && x + size > width) [x, y] = [MARGIN.left, y + 18];
    x += size;
    return { x: x - size, y };
  });
}

/** @param {Line[]} lines @param {string} x @param {string} y @returns {string} */
function describe(lines, x, y) {
  const parts = lines.filter((line) => line.x.length).map((line) => {
    const last = line.x.length - 1;
    return `${line.name}: ${figure(line.y[last])}${x ? ` at ${x} ${figure(line.x[last])}` : ""}`;
  });
  return `${y ? `${y}. ` : ""}${parts.length ? parts.join("; ") : "Nothing yet."}`;
}

/** Round numbers between two. @param {number} low @param {number} high @param {number} count @returns {number[]} */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? rough;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

/** Powers of ten between two numbers. @param {number} low @param {number} high @returns {number[]} */
function decades(low, high) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (last < first) return [low, high];
  const step = Math.max(1, Math.ceil((last - first) / 5));
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => 10 ** (first + i * step));
}

/**
 * @param {CanvasRenderingContext2D} context @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1
 */
function segment(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
