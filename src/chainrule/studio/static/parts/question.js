// @ts-check
// A question that is asked again and again: one at a time, and made when it is sent, of what then is the newest.

export class Question {
  /**
   * @param {import("./view.js").View} view @param {string} name what is asked
   * @param {() => object} make  its content, and its `buffers`
   */
  constructor(view, name, make) {
    this.view = view;
    this.name = name;
    this.make = make;
    this.number = 0; // of the one that is under way, or was
    this.isBusy = this.isWanted = false;
  }

  /** Forget what is under way: no answer will come, or none that is wanted. */
  reset() {
    this.number += 1;
    this.isBusy = this.isWanted = false;
  }

  ask() {
    this.isWanted = this.isBusy;
    if (this.isBusy) return;
    this.isBusy = true;
    this.number += 1;
    const { buffers, ...content } = /** @type {{ buffers?: ArrayBuffer[] }} */ (this.make());
    this.view.send(this.name, { number: this.number, ...content }, buffers);
  }

  /** Whether this is the answer that is awaited; the next one is then asked for. @param {{ number: number }} answer */
  answered({ number }) {
    if (number !== this.number || !this.isBusy) return false;
    this.isBusy = false;
    if (this.isWanted) this.ask();
    return true;
  }
}
