// @ts-check
// Draw: draw a digit, and watch the network read it.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { bytes } from "../parts/arrays.js";
import { code } from "../parts/code.js";
import { explain } from "../parts/explain.js";
import { savePicture } from "../parts/files.js";
import { Pad } from "../parts/pad.js";
import { gray } from "../parts/pictures.js";
import { SIDE, decode, encode } from "../parts/strokes.js";

const LARGEST_PHOTO = 7_500_000; // bytes; the server takes a little more
const REST = 50; // milliseconds between two readings of an unfinished drawing: a finished one finds the server free
const SAY_AFTER = 600; // milliseconds without a new answer, before it is read aloud
/** @type {Record<string, string>} */
const STEPS = {
  "as opened": "your picture, at most 256 pixels long",
  background: "how bright the paper would be without ink",
  "background removed": "what is darker than the paper: light and shadow are gone",
  "noise removed": "strokes only, each as dark as the darkest",
  cropped: "the box around the ink",
  "scaled to 20×20": "the longer side is 20 pixels, as in the images it learned from",
  "centered in 28×28": "what the network sees",
};

export const defaults = { strokes: "", kept: "", sample: -1 };

export default {
  /** @param {{ model: any, el: HTMLElement }} context */
  render({ model, el }) {
    new Draw(model, el);
  },
};

/** @typedef {{ title: string, shape: [number, number], digit: number | null, confidence: number }} Stage */

class Draw {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.el = el;
    /** @type {{ bytes: ArrayBuffer, bitmap: ImageBitmap | null, name: string } | null} */
    this.photo = null; // in place of strokes
    /** @type {ImageBitmap | null} */
    this.sample = null; // likewise
    this.pad = new Pad(decode(model.get("strokes")), {
      changed: (finished) => this.changed({ finished }),
      lifted: () => this.lifted(),
      begun: () => (this.photo = this.sample = null),
      undo: () => this.undo(),
      under: (context) => this.paintPicture(context),
      took: (file) => this.takePhoto(file),
    });
    this.network = { about: "", names: [..."0123456789"], code: "" };
    /** @type {any} */
    this.reading = null;
    this.spoken = "";
    this.number = 1; // of the newest picture
    this.asked = 0; // of the newest picture that is being read; 0 for none
    this.done = 0; // the picture that has been read
    this.isResting = false; // between two readings
    /** @type {any} */
    this.filmed = null; // the reading whose steps are on their canvases
    this.samples = Math.max(0, model.get("sample") + 1); // the number of the next one
    this.timer = 0;
    model.on("msg:custom", (/** @type {any} */ content, /** @type {DataView[]} */ buffers) => this.told(content, buffers));
    model.on("connected", () => this.begin());
    this.show();
    this.pad.redraw(el);
    this.begin();
  }

  begin() {
    this.model.send({ ask: "network" });
    if (this.model.get("kept")) this.model.send({ ask: "kept", key: this.model.get("kept") });
    const sample = this.model.get("sample");
    if (sample >= 0 && Number.isSafeInteger(sample)) this.model.send({ ask: "sample", number: sample });
    this.asked = 0;
    this.ask();
  }

  // What the server says

  /** @param {any} content @param {DataView[]} buffers */
  told(content, buffers) {
    if (content.tell === "network") {
      this.network = content;
    } else if (content.tell === "sample") {
      this.takeSample(content.side, bytes(buffers[0]));
    } else if (content.tell === "kept") {
      this.model.set("kept", content.key);
      this.model.save_changes();
    } else if (content.tell === "strokes") {
      this.pad.strokes.splice(0, Infinity, ...decode(content.text));
      this.changed({ finished: false });
      if (this.asked !== this.number) this.ask(); // a last stroke of one point, too
    } else if (content.tell === "reading") {
      if (content.number < this.done) return; // a newer one was answered first
      this.reading = this.isEmpty() ? null : { ...content, pictures: buffers };
      this.done = content.number;
      if (this.done >= this.asked) {
        this.asked = 0;
        this.rest();
      }
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.spoken = this.sentence();
        this.show();
      }, SAY_AFTER);
    } else if (content.error) {
      this.reading = { error: content.error };
      this.asked = 0;
    }
    this.show();
  }

  /** Ask for the newest picture. */
  ask() {
    if (this.isEmpty()) return;
    this.asked = this.number;
    this.model.send({ ask: "read", number: this.number }, undefined, [this.picture()]);
  }

  /** The picture's file: the photo as it is, or the canvas as a PNG. @returns {ArrayBuffer} */
  picture() {
    return this.photo ? this.photo.bytes : this.pad.png();
  }

  isEmpty() {
    return !this.pad.strokes.length && !this.photo && !this.sample;
  }

  // What the person does

  /** There is another picture. An unfinished one waits for its turn, and a stroke until it has a length. */
  changed({ finished = true } = {}) {
    this.number += 1;
    if (this.isEmpty()) {
      this.reading = null;
      this.spoken = "";
    }
    if (finished) this.save();
    this.pad.redraw(this.el);
    this.show();
    if (finished || !(this.asked || this.isResting || this.pad.strokes.at(-1)?.length === 1)) this.ask();
  }

  /** Leave the server alone for a while. */
  rest() {
    this.isResting = true;
    setTimeout(() => {
      this.isResting = false;
      if (!this.asked && this.done !== this.number) this.ask();
    }, REST);
  }

  /** The newest picture is finished: if it was waiting, it waits no longer. */
  lifted() {
    this.save();
    if (this.asked !== this.number && this.done !== this.number) this.ask();
  }

  /** Write the drawing into the address; a long one is kept by the server, under a key. */
  save() {
    const strokes = this.photo || this.sample ? [] : this.pad.strokes;
    const text = encode(strokes);
    this.model.set("strokes", text.isShort ? text.text : "");
    this.model.set("kept", "");
    this.model.set("sample", this.sample ? this.samples - 1 : -1);
    this.model.save_changes();
    if (!text.isShort) this.model.send({ ask: "keep", text: text.text });
  }

  undo() {
    this.pad.cursor.down = false;
    if (this.photo || this.sample) {
      this.photo = this.sample = null;
      this.changed();
    } else this.pad.undo();
  }

  clear() {
    this.photo = this.sample = null;
    this.pad.clear();
  }

  /** @param {File | undefined} file */
  async takePhoto(file) {
    if (!file) return;
    if (file.size > LARGEST_PHOTO) {
      this.reading = { error: `${file.name}: ${(file.size / 1e6).toFixed(1)} MB are too many; 7.5 MB at most` };
      this.show();
      return;
    }
    const content = await file.arrayBuffer();
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      // a format that the browser cannot show; the server may read it
    }
    this.pad.strokes.length = 0;
    this.sample = null;
    this.photo = { bytes: content, bitmap, name: file.name };
    this.changed();
  }

  /** @param {number} side @param {Uint8Array} values */
  async takeSample(side, values) {
    const canvas = document.createElement("canvas");
    gray(canvas, values.map((value) => 255 - value), side, side);
    this.pad.strokes.length = 0;
    this.photo = null;
    this.sample = await createImageBitmap(canvas);
    this.changed();
  }

  download() {
    savePicture(this.picture(), this.photo ? this.photo.name : "drawing.png");
  }

  // What is shown

  /** @param {CanvasRenderingContext2D} context */
  paintPicture(context) {
    const bitmap = this.photo ? this.photo.bitmap : this.sample;
    if (!bitmap) return;
    const margin = this.sample ? SIDE / 14 : 0;
    const scale = (SIDE - 2 * margin) / Math.max(bitmap.width, bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
  }

  /** @param {number | null} digit @returns {string} */
  name(digit) {
    return digit === null ? "no digit" : this.network.names[digit];
  }

  /** @returns {string} */
  sentence() {
    const { reading } = this;
    if (!reading) return "";
    if (reading.error) return reading.error;
    if (reading.blank) return "There is nothing to read.";
    if (reading.count > 1) return `There are ${reading.count} digits; draw one.`;
    const second = reading.second ? `; maybe ${this.name(reading.second.digit)}` : "";
    const what = reading.digit === null ? "Not a digit" : this.name(reading.digit);
    return `${what}, ${percent(reading.confidence)} sure${second}`;
  }

  show() {
    put(this.template(), this.el);
    this.el.toggleAttribute("data-is-settled", this.done === this.number);
    if (this.filmed === this.reading) return;
    this.filmed = this.reading;
    const canvases = this.el.querySelectorAll(".film canvas");
    (this.reading?.stages ?? []).forEach((/** @type {Stage} */ stage, /** @type {number} */ i) => {
      const [height, width] = stage.shape;
      gray(/** @type {HTMLCanvasElement} */ (canvases[i]), bytes(this.reading.pictures[i]), width, height);
    });
  }

  template() {
    const { reading } = this;
    const known = reading && reading.confidences;
    const row = (/** @type {string} */ label, /** @type {number} */ value) => html`
      <tr class=${known && this.name(reading.digit) === label ? "best" : ""}>
        <th scope="row">${label}</th>
        <td><meter min="0" max="1" .value=${value} aria-label=${label}></meter></td>
        <td class="number">${known ? percent(value) : ""}</td>
      </tr>`;
    return html`
      <p class="lead">Draw a digit from 0 to 9, and watch the network read it.</p>
      <div class="columns">
        <section aria-label="Your drawing">
          ${this.pad.template("keys")}
          <p class="buttons">
            <button @click=${() => this.undo()} ?disabled=${this.isEmpty()}>Undo</button>
            <button @click=${() => this.clear()} ?disabled=${this.isEmpty()}>Clear</button>
            <button @click=${() => this.model.send({ ask: "sample", number: this.samples++ })}>Try an example</button>
            <label class="file">Use a photo
              <input type="file" accept="image/*"
                @change=${(/** @type {any} */ e) => this.takePhoto(e.target.files[0])}>
            </label>
            <button @click=${() => this.download()} ?disabled=${this.isEmpty()}>Save</button>
          </p>
          <p id="keys" class="quiet keys">By keyboard: arrows move the pen (with Shift in small steps), Space puts it down and
            lifts it, Backspace undoes. A photo can be dropped or pasted here, too.</p>
        </section>
        <section aria-labelledby="answer-title">
          <h2 id="answer-title">What the network says ${explain(
            "The network gives each digit a score; softmax turns the scores into probabilities, which add up to 100%.",
            "the-network-reads-digits", "the bars",
          )}</h2>
          <p class=${reading?.error ? "answer notice" : "answer"}>${reading ? this.sentence() : "Nothing yet."}</p>
          <p class="spoken" aria-live="polite">${this.spoken}</p>
          <table class="bars">
            <caption class="spoken">The probability of each digit</caption>
            <tbody>
              ${this.network.names.map((label, i) => row(label, known ? reading.confidences[i] : 0))}
              ${known && reading.no_digit !== null ? row("no digit", reading.no_digit) : nothing}
            </tbody>
          </table>
          <p class="quiet">${this.network.about}</p>
        </section>
      </div>
      <section aria-labelledby="film-title" ?hidden=${!known}>
        <h2 id="film-title">From the picture to what the network sees ${explain(
          "A photo has shadows, paper and a digit of any size; the network learned from small, centered, white strokes on black.",
          "your-own-photo", "the steps",
        )}</h2>
        <p class="quiet">Below each step is what the network would say if the steps ended there.</p>
        <ol class="film">
          ${(known ? reading.stages : []).map((/** @type {Stage} */ stage) => html`
            <li>
              <canvas role="img" aria-label=${stage.title}></canvas>
              <strong>${stage.title}</strong>
              <span>${this.name(stage.digit)}, ${percent(stage.confidence)}</span>
              <span class="quiet">${STEPS[stage.title] ?? ""}</span>
            </li>`)}
        </ol>
        ${code(this.network.code)}
      </section>`;
  }
}

/** @param {number} value */
const percent = (value) => `${(100 * value).toFixed(1)}%`;
