// Python in a thread of its own, so that the page stays usable and a cell can be stopped. cells.js starts it and says
// what to do; it answers with messages: stage, ready, failed, text, figure, done.
"use strict";

let python, notebook, live;

async function start({ pyodide, chainrule }) {
  postMessage({ kind: "stage", number: 1, text: "Python" });
  importScripts(pyodide + "pyodide.js");
  python = await loadPyodide({ indexURL: pyodide, env: { MPLBACKEND: "agg", HOME: "/home/pyodide" } });
  postMessage({ kind: "stage", number: 2, text: "NumPy and Matplotlib" });
  await load("numpy", "matplotlib", "pillow");
  postMessage({ kind: "stage", number: 3, text: "chainrule" });
  const answer = await fetch(chainrule);
  if (!answer.ok) throw new Error(`${chainrule} is not there (${answer.status})`);
  const folder = python.runPython("import site; site.getsitepackages()[0]");
  python.unpackArchive(await answer.arrayBuffer(), "zip", { extractDir: folder });
  // Matplotlib says with its first figure that it lists the fonts, which nobody has to know
  python.runPython("import logging; logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)");
  const cells = python.pyimport("cells");
  notebook = cells.Notebook(
    (stream, text) => postMessage({ kind: "text", stream, text }),
    (title, width, light, dark) => {
      const pictures = [light, dark].map((bytes) => { const copy = bytes.toJs(); bytes.destroy(); return copy; });
      postMessage({ kind: "figure", title, width, light: pictures[0], dark: pictures[1] });
    },
  );
  postMessage({ kind: "ready" });
}

async function run({ number, code }) {
  await python.loadPackagesFromImports(code, { messageCallback: () => {} });
  if (/^\s*(from|import)\b.*\b(images|handwriting)\b/m.test(code)) await load("scipy"); // 20 MB, and only for photos
  postMessage({ kind: "done", succeeded: notebook.run(number, code) });
}

/** Answer a message of a view of the studio. */
function ask({ view, content }) {
  live ??= python.pyimport("live");
  const answer = live.answer(view, JSON.stringify(content));
  const [text, buffers] = answer.toJs();
  answer.destroy();
  postMessage({ kind: "answer", text, buffers: buffers.map((bytes) => bytes.slice()) });
}

function load(...packages) {
  return python.loadPackage(packages, { messageCallback: () => {} });
}

onmessage = async ({ data }) => {
  try {
    await { start, run, ask }[data.kind](data);
  } catch (error) {
    postMessage({ kind: "failed", text: String(error.message || error) });
  }
};
