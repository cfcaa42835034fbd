// @ts-check
// Keys that move.

import { clamp } from "./numbers.js";

/** Where arrow keys lead: across, and down. @type {Record<string, [number, number]>} */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Whether a key is the browser's. @param {KeyboardEvent} event */
export const isModified = (event) => event.altKey || event.ctrlKey || event.metaKey;

/**
 * Where a key leads in a list; null if it leads nowhere.
 * @param {KeyboardEvent} event @param {number} at @param {number} count @param {number} [columns] of the list, if it is a grid
 */
export function moved(event, at, count, columns = 1) {
  const [across, down] = ARROWS[event.key] ?? [0, 0];
  const to = event.key === "Home" ? 0 : event.key === "End" ? count - 1 : across || down ? at + across + columns * down : null;
  if (to === null) return null;
  event.preventDefault();
  return clamp(to, 0, count - 1);
}
