// @ts-check
// Draw: draw a digit, and watch the network read it.

import { bytes } from "../parts/arrays.js";
import { code, probabilities, section, spoken } from "../parts/elements.js";
import { button } from "../parts/fields.js";
import { percent } from "../parts/numbers.js";
import { Pad, savePicture } from "../parts/pad.js";
import { gray } from "../parts/pictures.js";
import { SIDE } from "../parts/strokes.js";
import { html } from "../parts/template.js";
import { View, module } from "../parts/view.js";

const LARGEST_PHOTO = 7_500_000; // bytes; the server takes a little more
const REST = 50; // milliseconds between two readings of an unfinished drawing: a finished one finds the server free

export const defaults = { strokes: "", kept: "", sample: -1 };

class Draw extends View {
  /** @param {Context} context */
  constructor(context) {
    super(context);
    /** @type {{ bytes: ArrayBuffer, bitmap: ImageBitmap | null, name: string } | null} */
    this.photo = null; // in place of strokes
    /** @type {ImageBitmap | null} */
    this.sample = null; // likewise
    this.pad = new Pad(this, {
      changed: (finished) => this.changed({ finished }),
      loaded: () => {
        this.changed({ finished: false });
        if (this.asked !== this.number) this.ask(); // a last stroke of one point, too
      },
      lifted: () => this.lifted(),
      begun: () => (this.photo = this.sample = null),
      undo: () => this.undo(),
      under: (context) => this.paintPicture(context),
      took: (file) => this.takePhoto(file),
    });
    /** @type {drawing.Network} */
    this.network = { about: "", names: [..."0123456789"], code: "" };
    /** @type {drawing.Reading | null} */
    this.reading = null;
    this.number = 1; // of the newest picture
    this.asked = 0; // of the newest picture that is being read; 0 for none
    this.done = 0; // the picture that has been read
    this.isResting = false; // between two readings
    /** @type {drawing.Reading | null} */
    this.filmed = null; // the reading whose steps are on their canvases
    this.samples = Math.max(0, this.get("sample") + 1); // the number of the next one
    this.listen({
      ...this.pad.answers,
      network: (network) => (this.network = network),
      sample: ({ side }, [values]) => this.takeSample(side, bytes(values)),
      reading: (reading, pictures) => this.take({ ...reading, pictures }),
      error: (reading) => {
        this.asked = 0;
        this.reading = reading;
      },
    }, () => this.begin());
    this.begin();
    this.show();
  }

  begin() {
    this.asked = 0;
    this.send("network");
    this.pad.load();
    const sample = this.get("sample");
    if (sample >= 0 && Number.isSafeInteger(sample)) this.send("sample", { number: sample });
    this.ask();
  }

  /** Ask for the newest picture. */
  ask() {
    if (this.isEmpty()) return;
    this.asked = this.number;
    this.send("read", { number: this.number }, [this.picture()]);
  }

  /** @param {any} reading */
  take(reading) {
    if (reading.number < this.done) return; // a newer one was answered first
    this.reading = this.isEmpty() ? null : reading;
    this.done = reading.number;
    if (this.done >= this.asked) {
      this.asked = 0;
      this.rest();
    }
    this.say(() => this.sentence());
  }

  /** The picture's file: the photo as it is, or the canvas as a PNG. @returns {ArrayBuffer} */
  picture() {
    return this.photo ? this.photo.bytes : this.pad.png();
  }

  isEmpty() {
    return this.pad.isEmpty && !this.photo && !this.sample;
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
    if (finished || !(this.asked || this.isResting || this.pad.strokes.at(-1)?.length === 1)) this.ask();
    this.show();
  }

  save() {
    this.pad.save({ sample: this.sample ? this.samples - 1 : -1 });
  }

  /** Leave the server alone for a while. */
  rest() {
    this.isResting = true;
    this.later("rest", REST, () => {
      this.isResting = false;
      if (!this.asked && this.done !== this.number) this.ask();
    });
  }

  /** The newest picture is finished: if it was waiting, it waits no longer. */
  lifted() {
    this.save();
    if (this.asked !== this.number && this.done !== this.number) this.ask();
  }

  undo() {
    this.pad.cursor.down = false;
    if (this.photo || this.sample) this.clear();
    else this.pad.undo();
  }

  clear() {
    this.photo = this.sample = null;
    this.pad.clear();
  }

  /** @param {File | undefined} file */
  async takePhoto(file) {
    if (!file) return;
    if (file.size > LARGEST_PHOTO) {
      this.reading = /** @type {any} */ ({ error: `${file.name}: ${(file.size / 1e6).toFixed(1)} MB are too many; 7.5 MB at most` });
      return this.show();
    }
    const content = await file.arrayBuffer();
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      // a format that the browser cannot show; the server may read it
    }
    this.sample = null;
    this.photo = { bytes: content, bitmap, name: file.name };
    this.pad.clear();
  }

  /** @param {number} side @param {Uint8Array} values */
  async takeSample(side, values) {
    const canvas = document.createElement("canvas");
    gray(canvas, values.map((value) => 255 - value), side, side);
    this.photo = null;
    this.sample = await createImageBitmap(canvas);
    this.pad.clear();
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

  isSettled() {
    return this.done === this.number;
  }

  paint() {
    this.pad.repaint();
    if (this.filmed === this.reading) return;
    this.filmed = this.reading;
    const canvases = this.canvases(".film canvas");
    this.reading?.stages?.forEach(({ shape: [height, width] }, i) =>
      canvases[i] && gray(canvases[i], bytes(/** @type {drawing.Reading} */ (this.reading).pictures[i]), width, height));
  }

  buttons() {
    return [
      button("Undo", () => this.undo(), this.isEmpty()),
      button("Clear", () => this.clear(), this.isEmpty()),
      button("Try an example", () => this.send("sample", { number: this.samples++ })),
      html`<label class="file">Use a photo
        <input type="file" accept="image/*" @change=${(e) => this.takePhoto(e.target.files[0])}></label>`,
      button("Save", () => this.download(), this.isEmpty()),
    ];
  }

  template() {
    const { reading } = this;
    const known = reading?.confidences ? reading : null;
    const others = known && known.no_digit !== null ? [known.no_digit] : [];
    return html`
      <p class="lead">Draw a digit from 0 to 9, and watch the network read it.</p>
      <div class="columns">
        <section aria-label="Your drawing">${this.pad.template(this.buttons(), "A photo can be dropped or pasted here, too.")}</section>
        ${section("answer", "What the network says", html`
          <p class=${reading?.error ? "answer notice" : "answer"}>${reading ? this.sentence() : "Nothing yet."}</p>
          ${spoken(this.spoken)}
          ${probabilities([...this.network.names, ...others.map(() => this.name(null))],
            known && [...(known.confidences ?? []), ...others], known ? this.name(known.digit) : undefined)}
          <p class="quiet">${this.network.about}</p>`, [
          "The network gives each digit a score; softmax turns the scores into probabilities, which add up to 100%.",
          "the-network-reads-digits",
        ])}
      </div>
      <div ?hidden=${!known}>${section("film", "From the picture to what the network sees", html`
        <p class="quiet">Below each step is what the network would say if the steps ended there.</p>
        <ol class="film">
          ${known?.stages.map(({ title, about, digit, confidence }) => html`
            <li>
              <canvas class="picture" role="img" aria-label=${title}></canvas>
              <strong>${title}</strong>
              <span>${this.name(digit)}, ${percent(confidence)}</span>
              <span class="quiet">${about}</span>
            </li>`)}
        </ol>
        ${code(this.network.code)}`, [
        "A photo has shadows, paper and a digit of any size; the network learned from small, centered, white strokes on black.",
        "your-own-photo",
      ])}</div>`;
  }
}

export default module(Draw);
