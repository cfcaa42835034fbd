// @ts-check
// What can be chosen in the playground, as its Python side has it: see setup.py.

export const defaults = {
  data: "circles", classes: 2, count: 200, noise: 0.05, train: 80, seed: 0, own: "", features: "x1-x2", layers: "4-2",
  activation: "tanh", start: 0, optimizer: "adam", rate: 0.03, decay: 0, batch: 16, stop: "", step: 0, speed: "normal",
  large: "",
};

export const STEPS = 1_000_000; // more than a run takes
export const MOST = { layers: 6, neurons: 8, points: 800, csv: 1_000_000 };
export const DATA = [
  ["circles", "Circles"], ["spirals", "Spirals"], ["xor", "XOR"], ["moons", "Moons"], ["blobs", "Blobs"],
  ["points", "My points"], ["plane", "Slope"], ["hills", "Hills"], ["values", "My values"],
];
export const FEATURES = ["x1", "x2", "x1x1", "x2x2", "x1x2", "sin1", "sin2"];
export const SYMBOLS = ["x₁", "x₂", "x₁²", "x₂²", "x₁x₂", "sin πx₁", "sin πx₂"];
export const ACTIVATIONS = "tanh relu sigmoid leaky_relu gelu elu selu silu mish softplus softsign linear".split(" ");
export const OPTIMIZERS = "adam sgd momentum adamw rmsprop nadam radam adamax adagrad adadelta lion".split(" ");
export const RATES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
export const DECAYS = [0, 0.0001, 0.001, 0.01, 0.1, 1];
export const BATCHES = [1, 2, 4, 8, 16, 32, 64, 0];
/** When a run stops, in words, and a number to begin with. @type {Record<string, [string, string]>} */
export const STOPS = {
  "": ["by hand", ""], epochs: ["after so many epochs", "300"], loss: ["at a training loss of", "0.05"],
  accuracy: ["at an accuracy (%) of", "95"],
};
/** Milliseconds between frames, and steps in each: an epoch's for 0. @type {Record<string, [number, number]>} */
export const SPEEDS = { slow: [200, 1], normal: [40, 0], fast: [0, STEPS] };
/** What to try: a question, the lesson that answers it, and the state. @type {[string, string, object][]} */
export const TRIES = [
  ["Circles, with the squares as inputs: one neuron is enough", "neurons", { features: "x1x1-x2x2", layers: "" }],
  ["XOR without a hidden layer: can it be learned?", "the-perceptron", { data: "xor", layers: "" }],
  ["Spirals, the hard one", "any-curve", { data: "spirals", layers: "8-8", noise: 0.02 }],
  ["Three spirals at once", "any-curve", { data: "spirals", classes: 3, layers: "8-8", noise: 0.02, count: 300 }],
  ["Six layers of sigmoid: why does nothing happen?", "vanishing-gradients",
    { activation: "sigmoid", layers: "4-4-4-4-4-4", optimizer: "sgd" }],
  ["Neurons that die", "dead-neurons", { activation: "relu", layers: "8-8", optimizer: "sgd", rate: 3 }],
  ["A learning rate so large that the numbers break", "rolling-downhill",
    { data: "hills", activation: "leaky_relu", layers: "8-8", optimizer: "sgd", rate: 3 }],
  ["Few points, large network: it learns by heart", "learning-better",
    { data: "moons", count: 30, noise: 0.25, train: 50, layers: "8-8" }],
];

/** Whether the targets of this data are classes, not values. @param {string} data */
export const areClasses = (data) => !["plane", "hills", "values"].includes(data);

/** Whether the points are the person's own. @param {string} data */
export const isOwn = (data) => data === "points" || data === "values";

/** Whether there may be more than two classes. @param {string} data */
export const canCount = (data) => ["circles", "spirals", "blobs", "points"].includes(data);
