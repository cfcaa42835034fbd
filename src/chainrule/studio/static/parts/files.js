// @ts-check
// Files that the page gives to the person.

/**
 * Offer a picture's file for saving.
 * @param {ArrayBuffer} content @param {string} name
 */
export function savePicture(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "image/png" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
