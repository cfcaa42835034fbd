// @ts-check
// The views, in the order of their doors. Each has a module, `views/NAME.js`, under the contract of anywidget, which also
// exports the `defaults` of its state: what differs from them stands in the page's address.

/** @typedef {{ name: string, title: string, about: string }} Entry */

/** @type {Entry[]} */
export const VIEWS = [
  { name: "draw", title: "Draw", about: "Draw a digit, and watch the network read it." },
  { name: "inside", title: "Inside", about: "Look at what each neuron sees, and silence some." },
  { name: "train", title: "Train", about: "Train a network, steer it, and watch it learn." },
  { name: "microscope", title: "Microscope", about: "One weight, and the equations of backpropagation with its numbers." },
  { name: "time", title: "Time machine", about: "Slide back to any step of a training, and try another way from there." },
  { name: "playground", title: "Playground", about: "Teach a small network to tell points apart." },
  { name: "words", title: "Next word", about: "See which word a language model expects next, and where it looks." },
];
