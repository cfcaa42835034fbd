// @ts-check
// The views, in the order of their doors. Each module stands under the contract of anywidget, and exports the `defaults`
// of its state: what differs from them stands in the page's address.

/** @typedef {{ name: string, title: string, about: string, load: () => Promise<any> }} Entry */

/** @type {Entry[]} */
export const VIEWS = [
  { name: "draw", title: "Draw", about: "Draw a digit, and watch the network read it.", load: () => import("./views/draw.js") },
  { name: "inside", title: "Inside", about: "Look at what each neuron sees, and silence some.", load: () => import("./views/inside.js") },
  { name: "train", title: "Train", about: "Train a network, steer it, and watch it learn.", load: () => import("./views/train.js") },
  { name: "microscope", title: "Microscope", about: "One weight, and the equations of backpropagation with its numbers.", load: () => import("./views/microscope.js") },
  { name: "time", title: "Time machine", about: "Slide back to any step of a training, and try another way from there.", load: () => import("./views/time.js") },
  { name: "playground", title: "Playground", about: "Teach a small network to tell points apart.", load: () => import("./views/playground.js") },
  { name: "words", title: "Next word", about: "See which word a language model expects next, and where it looks.", load: () => import("./views/words.js") },
];
