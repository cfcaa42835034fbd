// @ts-check
// What the playground's page knows of its settings; what else there is to choose from, its Python side tells: see choices.py.

export const defaults = {
  data: "circles", classes: 2, count: 200, noise: 0.05, train: 80, seed: 0, own: "", features: "x1-x2", layers: "4-2",
  activation: "tanh", start: 0, optimizer: "adam", rate: 0.03, decay: 0, batch: 16, stop: "", step: 0, speed: "normal",
  large: "",
};

export const STEPS = 1_000_000; // more than a run takes
export const MOST = { layers: 6, neurons: 8, points: 800, csv: 1_000_000 };
/** Milliseconds between frames, and steps in each: an epoch's for 0. @type {Record<string, [number, number]>} */
export const SPEEDS = { slow: [200, 1], normal: [40, 0], fast: [0, STEPS] };

/** Whether the targets of this data are classes, not values. @param {string} data */
export const areClasses = (data) => !["plane", "hills", "values"].includes(data);

/** Whether the points are the person's own. @param {string} data */
export const isOwn = (data) => data === "points" || data === "values";

/** Whether there may be more than two classes. @param {string} data */
export const canCount = (data) => ["circles", "spirals", "blobs", "points"].includes(data);
