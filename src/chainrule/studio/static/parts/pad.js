// @ts-check
// A pad to draw a digit on, by mouse, pen, finger or keyboard. The drawing is a part of its view's state.

import { button } from "./fields.js";
import { ARROWS } from "./keys.js";
import { clamp } from "./numbers.js";
import { SIDE, decode, encode, paint } from "./strokes.js";
import { html } from "./template.js";

const STEP = 20; // pixels that an arrow key moves the pen
const CURSOR = "#c33d00";

/** @param {number} value */
const inside = (value) => clamp(value, 0, SIDE);

export class Pad {
  /** @param {import("./view.js").View} view @param {PadListener} listener */
  constructor(view, listener) {
    this.view = view;
    this.listener = listener;
    this.strokes = decode(view.get("strokes"));
    this.cursor = { x: SIDE / 2, y: SIDE / 2, shown: false, down: false };
    /** @type {number | null} */
    this.pen = null;
    /** What the view's Python side tells of it. @type {Answers} */
    this.answers = {
      kept: ({ key }) => view.update({ kept: key }),
      strokes: ({ text }) => {
        this.strokes = decode(text);
        listener.loaded?.();
      },
    };
  }

  get isEmpty() {
    return !this.strokes.length;
  }

  /** Ask for a drawing that the server keeps. */
  load() {
    if (this.view.get("kept")) this.view.send("kept", { key: this.view.get("kept") });
  }

  /** Write the drawing into the state; the server keeps one that is too long for it, under a key. @param {Record<string, Value>} [more] */
  save(more) {
    const { text, isShort } = encode(this.strokes);
    const isKept = this.view.get("kept") !== undefined;
    if (!isShort && isKept) this.view.send("keep", { text });
    this.view.update({ strokes: isShort ? text : "", ...(isKept ? { kept: "" } : {}), ...more });
  }

  /** @param {Content} [buttons] @param {string} [more] how to use it besides @returns {object} */
  template(buttons = this.buttons(), more = "") {
    return html`<canvas
      class="pad" width=${SIDE} height=${SIDE} tabindex="0" role="application"
      aria-label="Drawing of a digit" aria-describedby="pad-keys"
      @pointerdown=${(e) => this.down(e)}
      @pointermove=${(e) => this.move(e)}
      @pointerup=${(e) => this.up(e)}
      @pointercancel=${(e) => this.up(e)}
      @keydown=${(e) => this.key(e)}
      @dragover=${(e) => e.preventDefault()}
      @drop=${(e) => { e.preventDefault(); this.listener.took?.(e.dataTransfer?.files[0]); }}
      @paste=${(e) => this.listener.took?.(e.clipboardData?.files[0])}
    ></canvas>
    <p class="buttons">${buttons}</p>
    <p id="pad-keys" class="quiet keys">By keyboard: arrows move the pen (with Shift in small steps), Space puts it down and lifts
      it, Backspace undoes. ${more}</p>`;
  }

  /** @param {boolean} finished whether the pen is up again */
  changed(finished) {
    this.repaint();
    this.listener.changed(finished);
  }

  buttons() {
    return [
      button("Undo", () => this.undo(), this.isEmpty),
      button("Clear", () => this.clear(), this.isEmpty),
      button("Save", () => savePicture(this.png(), "drawing.png"), this.isEmpty),
    ];
  }

  repaint() {
    const context = this.view.canvas("canvas.pad")?.getContext("2d");
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
    this.changed(true);
  }

  clear() {
    this.cursor.down = false;
    this.strokes = [];
    this.changed(true);
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
    this.changed(false);
  }

  /** @param {number[]} point */
  goOn(point) {
    this.strokes[this.strokes.length - 1].push(point);
  }

  /** The pen goes up. */
  lift() {
    if (this.listener.lifted) this.listener.lifted();
    else this.changed(true);
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
    this.changed(false);
  }

  /** @param {PointerEvent} event */
  up(event) {
    if (event.pointerId !== this.pen) return;
    this.pen = null;
    this.lift();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { cursor } = this;
    if (event.key in ARROWS) {
      const step = event.shiftKey ? STEP / 4 : STEP;
      const [x, y] = ARROWS[event.key];
      cursor.x = inside(cursor.x + x * step);
      cursor.y = inside(cursor.y + y * step);
      cursor.shown = true;
      if (cursor.down) {
        this.goOn([cursor.x, cursor.y]);
        this.changed(true);
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

/** Offer a picture's file for saving. @param {ArrayBuffer} content @param {string} name */
export function savePicture(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "image/png" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
