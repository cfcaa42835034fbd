// @ts-check
// The plane with points on it: what a network answers as colors, classes as colors and shapes.

import { clamp as between } from "../parts/numbers.js";
import { paint, sharp, signedColor } from "../parts/pictures.js";

export const LIMIT = 1.2; // the picture shows coordinates from -LIMIT to LIMIT
const UNITS = 10000; // see points.py
/** Of the classes: the area, and the points. */
const AREAS = [[33, 102, 172], [205, 92, 8], [27, 120, 55], [118, 42, 131]];
const POINTS = ["#14508c", "#a34700", "#14622c", "#5f1f6b"];
export const SHAPES = ["●", "■", "▲", "◆"];
const PAPER = 247;
const STRENGTH = 0.75; // of the areas, so that points stand out

/** @param {number} value @returns {number} a coordinate that can be written */
export const clamp = (value) => between(value, -LIMIT, LIMIT);

/** A coordinate as three digits of base 36. @param {number} value */
const digits = (value) => Math.round((clamp(value) + LIMIT) * UNITS).toString(36).padStart(3, "0");

/**
 * Points as text for the address: see points.py.
 * @param {ArrayLike<number>} points rows of x₁, x₂ and target @param {boolean} areClasses @returns {string}
 */
export function encode(points, areClasses) {
  let text = "";
  for (let i = 0; i < points.length; i += 3) {
    text += digits(points[i]) + digits(points[i + 1]) + (areClasses ? points[i + 2] : digits(points[i + 2]));
  }
  return text;
}

/** @param {string} text @param {boolean} areClasses @returns {Float32Array} such rows */
export function decode(text, areClasses) {
  const size = areClasses ? 7 : 9;
  const points = new Float32Array(3 * Math.floor(text.length / size));
  const coordinate = (/** @type {number} */ at) => parseInt(text.slice(at, at + 3), 36) / UNITS - LIMIT;
  for (let i = 0; i < points.length / 3; i++) {
    const at = i * size;
    points.set([coordinate(at), coordinate(at + 3), areClasses ? Number(text[at + 6]) : coordinate(at + 6)], 3 * i);
  }
  return points;
}

const answer = document.createElement("canvas");

/**
 * The network's answer as a picture.
 * @param {Uint8Array} planes one plane (the share of class 2, or a value), or one for each class
 * @param {number} side @returns {HTMLCanvasElement}
 */
export function picture(planes, side) {
  const size = side * side;
  const count = planes.length / size;
  paint(answer, side, side, (i) => {
    if (count === 1) return signedColor(STRENGTH * ((planes[i] / 255) * 2 - 1));
    let best = 0;
    for (let k = 1; k < count; k++) if (planes[k * size + i] > planes[best * size + i]) best = k;
    const share = Math.max(0, (planes[best * size + i] / 255 - 1 / count) / (1 - 1 / count));
    return AREAS[best].map((end) => PAPER + STRENGTH * share * (end - PAPER));
  });
  return answer;
}

/**
 * Paint the plane.
 * @param {HTMLCanvasElement} canvas @param {HTMLCanvasElement | null} picture what lies behind the points
 * @param {playground.Scene} scene @param {boolean} areClasses @param {{ x: number, y: number } | null} cursor
 */
export function paintPlane(canvas, picture, { points, training }, areClasses, cursor) {
  const size = canvas.clientWidth || 300;
  const context = sharp(canvas, size, size);
  const at = (/** @type {number} */ value) => ((value + LIMIT) / (2 * LIMIT)) * size;
  if (picture) {
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, size, size);
  } else {
    context.fillStyle = `rgb(${PAPER} ${PAPER} ${PAPER})`;
    context.fillRect(0, 0, size, size);
  }
  context.strokeStyle = "#0005";
  context.lineWidth = 1;
  context.beginPath();
  for (const line of [-1, 0, 1]) {
    const length = line ? 0.04 : 2 * LIMIT;
    for (const [x0, y0, x1, y1] of [[line, -length / 2, line, length / 2], [-length / 2, line, length / 2, line]]) {
      context.moveTo(at(x0), at(y0));
      context.lineTo(at(x1), at(y1));
    }
  }
  context.stroke();
  context.fillStyle = "#000b";
  context.font = "12px system-ui, sans-serif";
  context.fillText("x₁ →", size - 32, at(0) + 15);
  context.fillText("x₂ ↑", at(0) + 5, 14);
  const radius = Math.max(3, size / 85);
  for (let i = 0; i < points.length / 3; i++) {
    const [x, y, target] = points.subarray(3 * i, 3 * i + 3);
    const color = areClasses ? POINTS[target] : `rgb(${signedColor(target).join(" ")})`;
    const edge = areClasses ? "#fff" : "#222";
    drawPoint(context, at(clamp(x)), at(-clamp(y)), radius, areClasses ? target : 0, color, edge, training[i] > 0);
  }
  if (!cursor) return;
  for (const [color, width] of /** @type {[string, number][]} */ ([["#fff", 5], ["#000", 2]])) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.arc(at(cursor.x), at(-cursor.y), 2.4 * radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

/**
 * A point: of its class's shape; filled if it is for training, a ring if it is for validation.
 * @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} radius
 * @param {number} shape @param {string} color @param {string} edge @param {boolean} filled
 */
function drawPoint(context, x, y, radius, shape, color, edge, filled) {
  context.beginPath();
  if (shape === 0) context.arc(x, y, radius, 0, 2 * Math.PI);
  else if (shape === 1) context.rect(x - 0.9 * radius, y - 0.9 * radius, 1.8 * radius, 1.8 * radius);
  else {
    const corners = shape === 2 ? [-90, 30, 150] : [-90, 0, 90, 180];
    for (const angle of corners) {
      const turn = (angle * Math.PI) / 180;
      context.lineTo(x + 1.25 * radius * Math.cos(turn), y + 1.25 * radius * Math.sin(turn));
    }
    context.closePath();
  }
  const ring = 0.5 * radius;
  context.lineWidth = filled ? ring : 1.5 * ring;
  context.strokeStyle = edge;
  context.stroke();
  context.fillStyle = filled ? color : "#fff";
  context.fill();
  if (filled) return;
  context.lineWidth = ring;
  context.strokeStyle = color;
  context.stroke();
}
