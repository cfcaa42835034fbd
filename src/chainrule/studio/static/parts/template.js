// @ts-check
// lit-html's templates; a function among their values is a listener.

import * as lit from "../vendor/lit-html.js";

export const { nothing, render } = lit;
export const html = /** @type {Template} */ (lit.html);
export const svg = /** @type {Template} */ (lit.svg);
