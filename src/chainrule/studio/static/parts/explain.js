// @ts-check
// Explain: a small button that opens one sentence on what is shown, with a link into the lesson about it.

import { html, nothing } from "../vendor/lit-html.js";

/** Where lessons are read: a function from a lesson's key to its address, or null where there are none. */
export const lessons = { address: /** @type {((key: string) => string) | null} */ ((key) => `/lesson/${key}`) };

/**
 * @param {string} sentence @param {string} [lesson] the lesson's key @param {string} [topic] what is explained, for who
 * hears the page
 */
export function explain(sentence, lesson, topic = "this") {
  const link = lesson && lessons.address
    ? html` <a href=${lessons.address(lesson)} target="_blank" rel="noopener">The lesson about it</a>`
    : nothing;
  return html`<details class="explain"><summary aria-label=${`Explain ${topic}`}>?</summary><p>${sentence}${link}</p></details>`;
}
