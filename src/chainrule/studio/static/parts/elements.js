// @ts-check
// What pages consist of.

import { percent } from "./numbers.js";
import { html, nothing } from "./template.js";

/** What is read aloud. @param {string} sentence */
export const spoken = (sentence) => html`<p class="spoken" aria-live="polite">${sentence}</p>`;

/** What went wrong. @param {string} sentence */
export const alert = (sentence) => html`<p class="notice" role="alert">${sentence}</p>`;

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

/**
 * A part of a page, with a heading, and what explains it: a sentence, and a lesson's key.
 * @param {string} id @param {string} title @param {Content} content @param {[sentence: string, lesson: string]} [explanation]
 * @param {string} [kind]
 */
export const section = (id, title, content, explanation, kind = "") => html`
  <section class=${kind} aria-labelledby=${`${id}-title`}>
    <h2 id=${`${id}-title`}>${title} ${explanation ? explain(...explanation, title) : nothing}</h2>
    ${content}
  </section>`;

/** @type {Record<string, string>} */
const PACKAGED = {
  shipped: "digits (in the package)", shipped_words: "words (in the package)", lesson: "the lesson's, without attention",
};

/** What a network is called. @param {string} name of a run, or of what the package has */
export const nameOf = (name) => PACKAGED[name] ?? name.replace(/^untrained\/(.*)/, "$1, untrained");

/** A table, which may be wider than the page. @param {string} label @param {string} kind @param {string[]} heads @param {Content} rows */
export const table = (label, kind, heads, rows) => html`
  <div class="scroll" tabindex="0" role="region" aria-label=${label}><table class=${kind}>
    <thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
    <tbody>${rows}</tbody>
  </table></div>`;

/** @param {string} program */
export function code(program) {
  return html`
    <details class="code">
      <summary>The same in Python</summary>
      <p class="buttons"><button @click=${(event) => copy(event, program)}>Copy</button></p>
      <pre tabindex="0"><code>${program}</code></pre>
    </details>`;
}

/** @param {Event} event @param {string} program */
async function copy(event, program) {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  try {
    await navigator.clipboard.writeText(program);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text and copy it";
  }
}

/** @param {string} caption for who hears the page @param {Bar[]} rows @param {number} [min] @param {number} [max] */
export const bars = (caption, rows, min = 0, max = 1) => html`
  <table class="bars">
    <caption class="spoken">${caption}</caption>
    <tbody>${rows.map(({ name, value, text, isBest }) => html`
      <tr class=${isBest ? "best" : ""}><th scope="row">${name.split(/(?<=[._])/).map((part) => html`${part}<wbr>`)}</th>
        <td><meter min=${min} max=${max} .value=${value} aria-label=${name}></meter></td>
        <td class="number">${text}</td></tr>`)}</tbody>
  </table>`;

/**
 * @param {string[]} names @param {(number | null)[] | null | undefined} values  null while they are not known; of them, null
 * for what is not finite @param {string} [best] the name of the answer
 */
export const probabilities = (names, values, best) => bars("The probability of each class", names.map((name, i) => ({
  name, value: values?.[i] ?? 0, text: !values ? "" : values[i] === null ? "not finite" : percent(values[i]),
  isBest: Boolean(values) && name === best,
})));
