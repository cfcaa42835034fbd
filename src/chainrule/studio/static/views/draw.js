// Draw: draw a digit, and watch the network read it.

import { html, nothing, render as put } from "../vendor/lit-html.js";
import { SIDE, decode, encode, paint } from "../strokes.js";

const STEP = 20; // pixels that an arrow key moves the pen
const LARGEST_PHOTO = 7_500_000; // bytes; the server takes a little more
const SAY_AFTER = 600; // milliseconds without a new answer, before it is read aloud
const EXPLAIN = {
  "as opened": "the picture, at most 256 pixels long",
  background: "how bright the paper would be without ink",
  "background removed": "what is darker than the paper: light and shadow are gone",
  "noise removed": "strokes only, each as dark as the darkest",
  cropped: "the box around the ink",
  "scaled to 20×20": "the longer side is 20 pixels, as in the images it learned from",
  "centered in 28×28": "what the network sees",
};

export default {
  render({ model, el }) {
    new Draw(model, el);
  },
};

class Draw {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.strokes = decode(location.hash.startsWith("#draw=") ? location.hash.slice(6) : "");
    this.photo = null; // {bytes, bitmap, name}, in place of strokes
    this.sample = null; // a bitmap, likewise
    this.cursor = { x: SIDE / 2, y: SIDE / 2, shown: false, down: false };
    this.network = { about: "", names: [..."0123456789"] };
    this.reading = null;
    this.spoken = "";
    this.number = 1; // of the newest picture
    this.asked = 0; // of the picture that is being read; 0 for none
    this.done = 0; // the picture that has been read
    this.samples = 0;
    model.on((content, buffers) => this.told(content, buffers));
    this.show();
    this.redraw();
  }

  // What the server says

  told(content, buffers) {
    if (content.tell === "connected") {
      this.model.send({ ask: "network" });
      this.asked = 0;
      this.ask();
    } else if (content.tell === "network") {
      this.network = content;
    } else if (content.tell === "sample") {
      this.takeSample(content.side, buffers[0]);
    } else if (content.tell === "reading") {
      this.reading = content.number === this.asked && !this.isEmpty() ? { ...content, pictures: buffers } : null;
      this.asked = 0;
      this.done = content.number;
      if (content.number !== this.number) this.ask();
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

  /** Ask for the newest picture; while an answer is awaited, only the newest one is kept. */
  ask() {
    if (this.asked || this.isEmpty()) return;
    this.asked = this.number;
    const number = this.number;
    this.picture().then((bytes) => this.model.send({ ask: "read", number }, [bytes]));
  }

  /** The picture's file: the photo as it is, or the canvas as a PNG. */
  async picture() {
    if (this.photo) return this.photo.bytes;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    this.paintOn(canvas.getContext("2d"));
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    return blob.arrayBuffer();
  }

  isEmpty() {
    return !this.strokes.length && !this.photo && !this.sample;
  }

  // What the person does

  changed({ keepAddress = false } = {}) {
    this.number += 1;
    if (this.isEmpty()) {
      this.reading = null;
      this.spoken = "";
    }
    if (!keepAddress) {
      const text = this.photo || this.sample ? "" : encode(this.strokes);
      history.replaceState(null, "", text ? `#draw=${text}` : location.pathname);
    }
    this.redraw();
    this.show();
    this.ask();
  }

  point(event) {
    const box = event.target.getBoundingClientRect();
    const fit = (value, length) => Math.min(SIDE, Math.max(0, (value / length) * SIDE));
    return [fit(event.clientX - box.left, box.width), fit(event.clientY - box.top, box.height)];
  }

  down(event) {
    if (event.button) return;
    event.target.setPointerCapture(event.pointerId);
    this.pen = event.pointerId;
    this.begin(this.point(event));
    event.preventDefault();
    event.target.focus({ preventScroll: true });
  }

  move(event) {
    if (event.pointerId !== this.pen) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [event];
    for (const each of events.length ? events : [event]) {
      const box = event.target.getBoundingClientRect();
      const [x, y] = [each.clientX - box.left, each.clientY - box.top];
      this.strokes[this.strokes.length - 1].push(
        [(x / box.width) * SIDE, (y / box.height) * SIDE].map((value) => Math.min(SIDE, Math.max(0, value))),
      );
    }
    this.changed({ keepAddress: true });
  }

  up(event) {
    if (event.pointerId !== this.pen) return;
    this.pen = null;
    this.changed();
  }

  begin(point) {
    this.photo = this.sample = null;
    this.strokes.push([point]);
    this.changed({ keepAddress: true });
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { cursor } = this;
    if (event.key in moves) {
      const step = event.shiftKey ? STEP / 4 : STEP;
      const [x, y] = moves[event.key];
      cursor.x = Math.min(SIDE, Math.max(0, cursor.x + x * step));
      cursor.y = Math.min(SIDE, Math.max(0, cursor.y + y * step));
      cursor.shown = true;
      if (cursor.down) {
        this.strokes[this.strokes.length - 1].push([cursor.x, cursor.y]);
        this.changed();
      } else this.redraw();
    } else if (event.key === " " || event.key === "Enter") {
      cursor.shown = true;
      cursor.down = !cursor.down;
      if (cursor.down) this.begin([cursor.x, cursor.y]);
      else this.changed();
    } else if (event.key === "Escape") {
      cursor.down = false;
    } else if (event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey))) {
      this.undo();
    } else return;
    event.preventDefault();
    this.show();
  }

  undo() {
    this.cursor.down = false;
    if (this.photo || this.sample) this.photo = this.sample = null;
    else this.strokes.pop();
    this.changed();
  }

  clear() {
    this.cursor.down = false;
    this.strokes = [];
    this.photo = this.sample = null;
    this.changed();
  }

  async takePhoto(file) {
    if (!file) return;
    if (file.size > LARGEST_PHOTO) {
      this.reading = { error: `${file.name}: ${(file.size / 1e6).toFixed(1)} MB are too many; 7.5 MB at most` };
      this.show();
      return;
    }
    const bytes = await file.arrayBuffer();
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      // a format that the browser cannot show; the server may read it
    }
    this.strokes = [];
    this.sample = null;
    this.photo = { bytes, bitmap, name: file.name };
    this.changed();
  }

  async takeSample(side, bytes) {
    const data = new ImageData(side, side);
    bytes.forEach((value, i) => data.data.set([255 - value, 255 - value, 255 - value, 255], 4 * i));
    this.strokes = [];
    this.photo = null;
    this.sample = await createImageBitmap(data);
    this.changed();
  }

  async save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([await this.picture()], { type: "image/png" }));
    link.download = this.photo ? this.photo.name : "drawing.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // What is shown

  paintOn(context) {
    paint(context, this.strokes);
    const bitmap = this.photo ? this.photo.bitmap : this.sample;
    if (!bitmap) return;
    const margin = this.sample ? SIDE / 14 : 0;
    const scale = (SIDE - 2 * margin) / Math.max(bitmap.width, bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
  }

  redraw() {
    const context = this.el.querySelector("#canvas").getContext("2d");
    this.paintOn(context);
    const { cursor } = this;
    if (!cursor.shown) return;
    context.strokeStyle = "#c33d00";
    context.lineWidth = 4;
    context.beginPath();
    context.arc(cursor.x, cursor.y, 22, 0, 2 * Math.PI);
    context.stroke();
  }

  name(digit) {
    return digit === null ? "no digit" : this.network.names[digit];
  }

  sentence() {
    const { reading } = this;
    if (!reading) return "";
    if (reading.error) return reading.error;
    if (reading.blank) return "There is nothing to read.";
    if (reading.count > 1) return `There are ${reading.count} digits; draw one.`;
    const second = reading.second ? `, or ${this.name(reading.second.digit)}` : "";
    const what = reading.digit === null ? "This is no digit" : this.name(reading.digit);
    return `${what}${second}. ${percent(reading.confidence)} sure.`;
  }

  show() {
    put(this.template(), this.el);
    this.el.toggleAttribute("data-is-settled", this.done === this.number);
    if (!this.reading?.stages) return;
    this.reading.stages.forEach((stage, i) => {
      const canvas = this.el.querySelectorAll(".film canvas")[i];
      const [height, width] = stage.shape;
      if (canvas.shown === this.reading.pictures[i]) return;
      canvas.shown = this.reading.pictures[i];
      canvas.width = width;
      canvas.height = height;
      const data = new ImageData(width, height);
      canvas.shown.forEach((value, pixel) => data.data.set([value, value, value, 255], 4 * pixel));
      canvas.getContext("2d").putImageData(data, 0, 0);
    });
  }

  template() {
    const { reading } = this;
    const known = reading && reading.confidences;
    const row = (label, value) => html`
      <tr class=${known && this.name(reading.digit) === label ? "best" : ""}>
        <th scope="row">${label}</th>
        <td><meter min="0" max="1" .value=${value} aria-label=${label}></meter></td>
        <td class="number">${known ? percent(value) : ""}</td>
      </tr>`;
    return html`
      <div class="draw">
        <section aria-labelledby="pad-title">
          <h2 id="pad-title">Draw a digit</h2>
          <canvas
            id="canvas" width=${SIDE} height=${SIDE} tabindex="0" role="application"
            aria-label="Drawing of a digit" aria-describedby="keys"
            @pointerdown=${(e) => this.down(e)} @pointermove=${(e) => this.move(e)}
            @pointerup=${(e) => this.up(e)} @pointercancel=${(e) => this.up(e)}
            @keydown=${(e) => this.key(e)}
            @dragover=${(e) => e.preventDefault()}
            @drop=${(e) => { e.preventDefault(); this.takePhoto(e.dataTransfer.files[0]); }}
            @paste=${(e) => this.takePhoto(e.clipboardData.files[0])}
          ></canvas>
          <p class="buttons">
            <button @click=${() => this.undo()} ?disabled=${this.isEmpty()}>Undo</button>
            <button @click=${() => this.clear()} ?disabled=${this.isEmpty()}>Clear</button>
            <button @click=${() => this.model.send({ ask: "sample", number: this.samples++ })}>A sample</button>
            <label class="file">A photo
              <input type="file" accept="image/*" @change=${(e) => this.takePhoto(e.target.files[0])}>
            </label>
            <button @click=${() => this.save()} ?disabled=${this.isEmpty()}>Save</button>
          </p>
          <p id="keys" class="quiet">By keyboard: arrows move the pen (with Shift in small steps), Space puts it down and
            lifts it, Backspace undoes. A photo can be dropped or pasted here, too.</p>
        </section>
        <section aria-labelledby="answer-title">
          <h2 id="answer-title">What the network says</h2>
          <p class="answer">${reading ? this.sentence() : "Draw something."}</p>
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
        <h2 id="film-title">From the picture to what the network sees</h2>
        <p class="quiet">Below each step is what the network would say if the steps ended there.</p>
        <ol class="film">
          ${(known ? reading.stages : []).map((stage) => html`
            <li>
              <canvas role="img" aria-label=${stage.title}></canvas>
              <strong>${stage.title}</strong>
              <span>${this.name(stage.digit)}, ${percent(stage.confidence)}</span>
              <span class="quiet">${EXPLAIN[stage.title] ?? ""}</span>
            </li>`)}
        </ol>
        <details>
          <summary>The same in Python</summary>
          <pre><code>from chainrule.reading import DigitReader
from chainrule.training import run as runs

reading = DigitReader(runs.shipped()).read("drawing.png")  # Save writes this file
print(reading.guesses[0], reading.probabilities)</code></pre>
        </details>
      </section>`;
  }
}

const percent = (value) => `${(100 * value).toFixed(1)}%`;
