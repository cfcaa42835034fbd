// @ts-check
// A pad to draw a digit on, by mouse, pen, finger or keyboard.

import { html } from "../vendor/lit-html.js";
import { SIDE, paint } from "./strokes.js";

const STEP = 20; // pixels that an arrow key moves the pen
const CURSOR = "#c33d00";

/** @param {number} value */
const inside = (value) => Math.min(SIDE, Math.max(0, value));

export class Pad {
  /**
   * @param {number[][][]} strokes
   * @param {{
   *   changed: (finished: boolean) => void,
   *   begun?: () => void,
   *   lifted?: () => void,
   *   undo?: () => void,
   *   under?: (context: CanvasRenderingContext2D) => void,
   *   took?: (file: File | undefined) => void,
   * }} listener  `changed` when the strokes have, and whether the pen is up again; `begun` before a stroke begins;
   *   `lifted` instead of `changed(true)` when only the pen goes up; `undo` instead of taking the last stroke away;
   *   `under` paints what lies on the pad besides the strokes; `took` gets a file that is dropped or pasted
   */
  constructor(strokes, listener) {
    this.strokes = strokes;
    this.listener = listener;
    this.cursor = { x: SIDE / 2, y: SIDE / 2, shown: false, down: false };
    /** @type {number | null} */
    this.pen = null;
    /** @type {HTMLCanvasElement | null} */
    this.canvas = null;
  }

  /** @param {string} [describedBy] id of the element that says how to use it */
  template(describedBy = "") {
    return html`<canvas
      class="pad" width=${SIDE} height=${SIDE} tabindex="0" role="application"
      aria-label="Drawing of a digit" aria-describedby=${describedBy}
      @pointerdown=${(/** @type {PointerEvent} */ e) => this.down(e)}
      @pointermove=${(/** @type {PointerEvent} */ e) => this.move(e)}
      @pointerup=${(/** @type {PointerEvent} */ e) => this.up(e)}
      @pointercancel=${(/** @type {PointerEvent} */ e) => this.up(e)}
      @keydown=${(/** @type {KeyboardEvent} */ e) => this.key(e)}
      @dragover=${(/** @type {DragEvent} */ e) => e.preventDefault()}
      @drop=${(/** @type {DragEvent} */ e) => { e.preventDefault(); this.listener.took?.(e.dataTransfer?.files[0]); }}
      @paste=${(/** @type {ClipboardEvent} */ e) => this.listener.took?.(e.clipboardData?.files[0])}
    ></canvas>`;
  }

  /** Paint the pad. @param {Element} el what contains its template */
  redraw(el) {
    this.canvas = el.querySelector("canvas.pad");
    this.repaint();
  }

  repaint() {
    const context = this.canvas?.getContext("2d");
    if (!context) return;
    this.paintOn(context);
    if (!this.cursor.shown) return;
    context.strokeStyle = CURSOR;
    context.lineWidth = 4;
    context.beginPath();
    context.arc(this.cursor.x, this.cursor.y, 22, 0, 2 * Math.PI);
    context.stroke();
  }

  /** Paint the strokes, without the keyboard's pen. @param {CanvasRenderingContext2D} context */
  paintOn(context) {
    paint(context, this.strokes);
    this.listener.under?.(context);
  }

  /** The drawing as a PNG file, at once: `toBlob` would wait until the browser is idle. @returns {ArrayBuffer} */
  png() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    const context = canvas.getContext("2d", { willReadFrequently: true }); // in memory, not on the graphics card
    this.paintOn(/** @type {CanvasRenderingContext2D} */ (context));
    const [, text] = canvas.toDataURL("image/png").split(",");
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  }

  /** Take the last stroke away. */
  undo() {
    this.cursor.down = false;
    this.strokes.pop();
    this.listener.changed(true);
  }

  clear() {
    this.cursor.down = false;
    this.strokes.length = 0;
    this.listener.changed(true);
  }

  /** In whole pixels, as in addresses: who opens one sees the same drawing. @param {PointerEvent} event @param {PointerEvent} at @returns {number[]} */
  place(event, at) {
    const box = /** @type {Element} */ (event.target).getBoundingClientRect();
    const place = [((at.clientX - box.left) / box.width) * SIDE, ((at.clientY - box.top) / box.height) * SIDE];
    return place.map((value) => inside(Math.round(value)));
  }

  /** @param {number[]} point */
  begin(point) {
    this.listener.begun?.();
    this.strokes.push([point]);
    this.listener.changed(false);
  }

  /** @param {number[]} point */
  goOn(point) {
    this.strokes[this.strokes.length - 1].push(point);
  }

  /** The pen goes up. */
  lift() {
    if (this.listener.lifted) this.listener.lifted();
    else this.listener.changed(true);
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button) return;
    const canvas = /** @type {HTMLElement} */ (event.target);
    canvas.setPointerCapture(event.pointerId);
    this.pen = event.pointerId;
    this.begin(this.place(event, event));
    event.preventDefault();
    canvas.focus({ preventScroll: true });
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (event.pointerId !== this.pen) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [event];
    for (const each of events.length ? events : [event]) this.goOn(this.place(event, each));
    this.listener.changed(false);
  }

  /** @param {PointerEvent} event */
  up(event) {
    if (event.pointerId !== this.pen) return;
    this.pen = null;
    this.lift();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, number[]>} */
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { cursor } = this;
    if (event.key in moves) {
      const step = event.shiftKey ? STEP / 4 : STEP;
      const [x, y] = moves[event.key];
      cursor.x = inside(cursor.x + x * step);
      cursor.y = inside(cursor.y + y * step);
      cursor.shown = true;
      if (cursor.down) {
        this.goOn([cursor.x, cursor.y]);
        this.listener.changed(true);
      } else this.repaint();
    } else if (event.key === " " || event.key === "Enter") {
      cursor.shown = true;
      cursor.down = !cursor.down;
      if (cursor.down) this.begin([cursor.x, cursor.y]);
      else this.lift();
    } else if (event.key === "Escape") {
      cursor.down = false;
      this.lift();
    } else if (event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey))) {
      if (this.listener.undo) this.listener.undo();
      else this.undo();
    } else return;
    event.preventDefault();
  }
}
