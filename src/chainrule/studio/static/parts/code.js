// @ts-check
// Copy as code: a program that gives the same numbers, and a button that copies it.

import { html } from "../vendor/lit-html.js";

/** @param {string} program */
export function code(program) {
  return html`
    <details class="code">
      <summary>The same in Python</summary>
      <p class="buttons"><button @click=${(/** @type {Event} */ event) => copy(event, program)}>Copy</button></p>
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
