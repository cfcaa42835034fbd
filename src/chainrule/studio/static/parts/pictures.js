// @ts-check
// Arrays as pictures on a canvas, one pixel for each value. CSS makes them larger (`image-rendering: pixelated`). A canvas is
// null where it is not on the page.

/** @param {HTMLCanvasElement} canvas */
export const contextOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** Give a canvas as many pixels as the screen has there, to be drawn on in those of the page. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
export function sharp(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = contextOf(canvas);
  context.scale(ratio, ratio);
  return context;
}

/** The largest magnitude. @param {ArrayLike<number>} values */
export function largest(values) {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]));
  return most;
}

/**
 * Gray values.
 * @param {HTMLCanvasElement | null} canvas @param {ArrayLike<number>} values 0 black to 255 white, row by row
 * @param {number} width @param {number} height
 */
export function gray(canvas, values, width, height) {
  put(canvas, width, height, (data) => {
    for (let i = 0; i < width * height; i++) data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = values[i];
  });
}

/**
 * Signed values: blue below zero, orange above, the paper's color at zero.
 * @param {HTMLCanvasElement | null} canvas @param {ArrayLike<number>} values @param {number} width @param {number} height
 * @param {number} [limit] the value with the full color; by default the largest magnitude
 */
export function signed(canvas, values, width, height, limit) {
  const most = limit ?? largest(values);
  paint(canvas, width, height, (i) => signedColor(most ? values[i] / most : 0));
}

/**
 * Signed values over gray ones: where they are large, their color covers the picture.
 * @param {HTMLCanvasElement | null} canvas @param {ArrayLike<number>} grays 0 black to 255 white
 * @param {ArrayLike<number>} values @param {number} width @param {number} height
 */
export function overlay(canvas, grays, values, width, height) {
  const most = largest(values);
  paint(canvas, width, height, (i) => {
    const share = most ? Math.min(1, Math.abs(values[i]) / most) : 0;
    const end = values[i] < 0 ? BELOW : ABOVE;
    return end.map((color) => Math.round(grays[i] / 2 + share * (color - grays[i] / 2)));
  });
}

const PAPER = [247, 247, 247];
const BELOW = [33, 102, 172];
const ABOVE = [205, 92, 8];

/** The color of a value from -1 to 1. @param {number} value @returns {number[]} red, green and blue, 0 to 255 */
export function signedColor(value) {
  const share = Math.min(1, Math.abs(value)) || 0;
  const end = value < 0 ? BELOW : ABOVE;
  return PAPER.map((paper, i) => Math.round(paper + share * (end[i] - paper)));
}

/**
 * @param {HTMLCanvasElement | null} canvas @param {number} width @param {number} height
 * @param {(i: number) => number[]} color of a pixel
 */
export function paint(canvas, width, height, color) {
  put(canvas, width, height, (data) => {
    for (let i = 0; i < width * height; i++) data.set(color(i), 4 * i);
  });
}

/**
 * @param {HTMLCanvasElement | null} canvas @param {number} width @param {number} height
 * @param {(data: Uint8ClampedArray) => void} fill writes red, green and blue of each pixel, four bytes apart
 */
function put(canvas, width, height, fill) {
  if (!canvas) return;
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  image.data.fill(255); // opaque
  fill(image.data);
  contextOf(canvas).putImageData(image, 0, 0);
}
