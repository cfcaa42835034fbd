// @ts-check
// A question that is asked again and again: one at a time, and of those that come meanwhile only the newest.

export class Question {
  /** @param {any} model @param {string} name what is asked */
  constructor(model, name) {
    this.model = model;
    this.name = name;
    this.number = 0;
    this.reset();
  }

  /** Forget what is under way: the server or the network is another one. */
  reset() {
    this.number += 1;
    this.busy = false;
    /** @type {[object, ArrayBuffer[]] | null} */
    this.next = null;
  }

  /** @param {object} content @param {ArrayBuffer[]} [buffers] */
  ask(content, buffers = []) {
    if (this.busy) {
      this.next = [content, buffers];
      return;
    }
    this.busy = true;
    this.number += 1;
    this.model.send({ ask: this.name, number: this.number, ...content }, undefined, buffers);
  }

  /** Whether an answer is the one that is waited for, and the newest. @param {{ number: number }} content */
  answered(content) {
    if (content.number !== this.number) return false;
    this.busy = false;
    if (!this.next) return true;
    const [question, buffers] = this.next;
    this.next = null;
    this.ask(question, buffers);
    return false;
  }
}
