// @ts-check
// Strokes of a pen: lists of points from 0 to SIDE, how they are drawn, and how they are written into an address.

export const SIDE = 560; // pixels of the drawing
const PEN = 40; // width of a stroke
const MAX_ADDRESS = 8000; // characters
const MAX_TEXT = 200_000; // characters that are read

/**
 * Draw strokes in black on white, as smooth curves through the midpoints of their points.
 * @param {CanvasRenderingContext2D} context @param {number[][][]} strokes
 */
export function paint(context, strokes) {
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = context.fillStyle = "#000";
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    if (stroke.length === 1) {
      context.arc(stroke[0][0], stroke[0][1], PEN / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.moveTo(stroke[0][0], stroke[0][1]);
    for (let i = 1; i < stroke.length - 1; i++) {
      const [x, y] = stroke[i];
      const [nextX, nextY] = stroke[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    const [endX, endY] = stroke[stroke.length - 1];
    context.lineTo(endX, endY);
    context.stroke();
  }
}

/**
 * Write strokes as "x.y.x.y-x.y", in base 36, and say whether that is short enough for an address.
 * @param {number[][][]} strokes @returns {{ text: string, isShort: boolean }}
 */
export function encode(strokes) {
  const text = strokes.map((stroke) => stroke.flat().map((value) => Math.round(value).toString(36)).join(".")).join("-");
  return { text, isShort: text.length <= MAX_ADDRESS };
}

/**
 * Read strokes; what is no stroke is left out.
 * @param {string} text @returns {number[][][]}
 */
export function decode(text) {
  /** @type {number[][][]} */
  const strokes = [];
  for (const part of text.slice(0, MAX_TEXT).split("-")) {
    const values = part.split(".").map((value) => parseInt(value, 36));
    const points = [];
    for (let i = 0; i + 1 < values.length; i += 2) {
      if (values.slice(i, i + 2).every((value) => value >= 0 && value <= SIDE)) points.push([values[i], values[i + 1]]);
    }
    if (points.length) strokes.push(points);
  }
  return strokes;
}
