// @ts-check
// Messages to and from the server: see wire.py.

const PREFIX = 4;

/** @param {object} content @param {ArrayBuffer[]} buffers @returns {ArrayBuffer} */
export function pack(content, buffers = []) {
  const text = new TextEncoder().encode(
    JSON.stringify({ ...content, buffers: buffers.map((buffer) => buffer.byteLength) }),
  );
  const total = buffers.reduce((sum, buffer) => sum + buffer.byteLength, PREFIX + text.length);
  const message = new Uint8Array(total);
  new DataView(message.buffer).setUint32(0, text.length, true);
  message.set(text, PREFIX);
  let position = PREFIX + text.length;
  for (const buffer of buffers) {
    message.set(new Uint8Array(buffer), position);
    position += buffer.byteLength;
  }
  return message.buffer;
}

/** @param {ArrayBuffer} message @returns {[any, DataView[]]} the content, and a DataView of each buffer */
export function unpack(message) {
  let position = PREFIX + new DataView(message).getUint32(0, true);
  const content = JSON.parse(new TextDecoder().decode(new Uint8Array(message, PREFIX, position - PREFIX)));
  const buffers = content.buffers.map((/** @type {number} */ length) => {
    position += length;
    return new DataView(message, position - length, length);
  });
  return [content, buffers];
}
