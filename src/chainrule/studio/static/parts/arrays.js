// @ts-check
// The buffers of a message as arrays.

/** @param {DataView} view @returns {Uint8Array} */
export const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** @param {DataView} view little-endian float32 @returns {Float32Array} */
export const floats = (view) => new Float32Array(copy(view));

/** @param {DataView} view little-endian float64 @returns {Float64Array} */
export const doubles = (view) => new Float64Array(copy(view));

/** @param {DataView} view little-endian int32 @returns {Int32Array} */
export const integers = (view) => new Int32Array(copy(view));

/** A copy, since typed arrays of several bytes must begin at a multiple of their size. @param {DataView} view */
const copy = (view) => bytes(view).slice().buffer;

/** A column of a matrix, whose rows follow each other. @param {ArrayLike<number>} values @param {number} j @param {number} width */
export const column = (values, j, width) => Array.from({ length: values.length / width }, (_, i) => values[width * i + j]);
