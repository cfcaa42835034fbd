// Puts "Run" and "Edit" below each cell of a lesson. The first run loads Python (worker.js); nothing is loaded before.
// All cells share one namespace, in order: running one first runs those before it that have not run.
(() => {
  "use strict";
  const script = document.currentScript;
  const root = new URL("..", script.src); // the site's, from _static/cells.js
  const pyodide = new URL(script.dataset.pyodide, root);
  const megabytes = 25;

  /** Python in a worker, from its first use until it is stopped. */
  class Python {
    /** Load it; `report` is called with each stage. */
    async start(report) {
      this.worker = new Worker(new URL("worker.js", script.src));
      this.worker.onerror = (event) => this.fail(event.message || "its worker could not be started");
      this.worker.onmessage = ({ data }) => this.receive(data);
      this.listener = { stage: report };
      await this.ask({ kind: "start", pyodide: pyodide.href, chainrule: new URL("browser/chainrule.zip", root).href });
    }

    /** Run a cell; `listener` gets its texts and figures. Returns whether it succeeded. */
    async run(number, code, listener) {
      this.listener = listener;
      return (await this.ask({ kind: "run", number, code })).succeeded;
    }

    /** Send a message; resolves with the answer that ends it. */
    ask(message) {
      return new Promise((resolve, reject) => {
        this.pending = { resolve, reject };
        this.worker.postMessage(message);
      });
    }

    receive(message) {
      if (message.kind === "failed") this.fail(message.text);
      else if (message.kind === "ready" || message.kind === "done") this.pending.resolve(message);
      else this.listener[message.kind](message);
    }

    fail(text) {
      this.pending.reject(new Error(text));
    }

    /** End it, whatever it is doing: names and values are gone. */
    stop() {
      this.worker.terminate();
      this.fail("stopped");
    }
  }

  /** A cell of the page: its code, buttons, and what it prints. */
  class Cell {
    constructor(block, number) {
      this.block = block;
      this.number = number;
      this.original = block.querySelector("pre").textContent.trimEnd();
      this.hasRun = false;
      this.printed = this.wrapPrinted();
      this.status = element("span", { className: "cell-status", role: "status" });
      this.progress = element("progress", { max: 3, value: 0, hidden: true, ariaLabel: "Loading Python" });
      this.runButton = this.button("Run", () => runThrough(this));
      this.stopButton = this.button("Stop", stop);
      this.editButton = this.button("Edit", () => this.edit());
      this.resetButton = this.button("Reset", () => this.reset());
      this.stopButton.hidden = this.resetButton.hidden = true;
      this.output = element("div", { className: "cell-output", role: "log", ariaLabel: `Output of cell ${number}` });
      const bar = element("div", { className: "cell-bar" });
      bar.append(this.runButton, this.stopButton, this.editButton, this.resetButton, this.progress, this.status);
      block.after(bar, this.output);
    }

    get code() {
      return this.editor ? this.editor.value : this.original;
    }

    button(label, action) {
      const button = element("button", { type: "button", textContent: label, onclick: action });
      button.setAttribute("aria-label", `${label} cell ${this.number}`);
      return button;
    }

    /** What the site printed and drew for this cell, in one element: it gives way to what runs here. */
    wrapPrinted() {
      const printed = element("div", {});
      const belongs = (node) =>
        node?.matches(".sphx-glr-script-out, img, a.image-reference, .sphx-glr-single-img, .sphx-glr-horizontal");
      while (belongs(this.block.nextElementSibling)) printed.append(this.block.nextElementSibling);
      this.block.after(printed);
      return printed;
    }

    edit() {
      this.editor = element("textarea", { className: "cell-editor", spellcheck: false, value: this.original });
      this.editor.setAttribute("aria-label", `Code of cell ${this.number}`);
      this.editor.setAttribute("autocapitalize", "off");
      this.editor.addEventListener("input", () => this.changed());
      this.editor.addEventListener("keydown", (event) => this.type(event));
      this.block.hidden = true;
      this.block.before(this.editor);
      this.fit();
      this.editButton.hidden = true;
      this.resetButton.hidden = false;
      this.editor.focus();
      this.say("Ctrl + Enter runs the cell.");
    }

    changed() {
      this.hasRun = false;
      this.fit();
    }

    fit() {
      this.editor.rows = this.editor.value.split("\n").length + 1;
    }

    /** Ctrl + Enter runs; Enter goes on at the same indentation. Tab leaves the editor, as on every page. */
    type(event) {
      if (event.key !== "Enter" || event.isComposing) return;
      if (event.ctrlKey || event.metaKey || event.shiftKey) {
        event.preventDefault();
        runThrough(this);
        return;
      }
      const before = this.editor.value.slice(0, this.editor.selectionStart);
      const line = before.slice(before.lastIndexOf("\n") + 1);
      const indentation = /^ */.exec(line)[0] + (/:\s*$/.test(line) ? "    " : "");
      event.preventDefault();
      this.editor.setRangeText("\n" + indentation, this.editor.selectionStart, this.editor.selectionEnd, "end");
      this.changed();
    }

    reset() {
      this.editor.remove();
      this.editor = null;
      this.block.hidden = this.printed.hidden = false;
      this.clear();
      this.say("");
      this.hasRun = false;
      this.editButton.hidden = false;
      this.resetButton.hidden = true;
      this.editButton.focus();
    }

    say(text) {
      this.status.textContent = text;
    }

    /** Show the button to stop it while it runs, and keep the keyboard's place. */
    showRunning(running) {
      const [shown, hidden] = running ? [this.stopButton, this.runButton] : [this.runButton, this.stopButton];
      const hadFocus = document.activeElement === hidden;
      shown.hidden = false;
      hidden.hidden = true;
      if (hadFocus) shown.focus();
    }

    clear() {
      for (const image of this.output.querySelectorAll("img")) URL.revokeObjectURL(image.src);
      this.output.replaceChildren();
    }

    text({ stream, text }) {
      let last = this.output.lastElementChild;
      if (!last?.matches(`pre.cell-${stream}`)) {
        last = element("pre", { className: `cell-${stream}`, tabIndex: 0 });
        this.output.append(last);
      }
      last.append(text);
    }

    figure({ title, width, light, dark }) {
      for (const [bytes, theme] of [[light, "only-light"], [dark, "only-dark"]]) {
        const image = element("img", { className: `${theme} lesson-figure`, alt: title, width: Math.round(width) });
        image.src = URL.createObjectURL(new Blob([bytes])); // PNG, or GIF for what moves
        this.output.append(image);
      }
    }
  }

  const blocks = [...document.querySelectorAll(".sphx-glr-example-title .highlight-Python")];
  const needsTerminal = blocks.some((block) => /\bchainrule\.cli\b/.test(block.textContent)); // not in the package
  const cells = needsTerminal ? [] : blocks.map((block, index) => new Cell(block, index + 1));
  let python = null; // the running Python, or null
  let running = null; // the cell that was asked for and is not done
  if (cells.length) introduce();

  /** Say what "Run" does, before the first cell. */
  function introduce() {
    const note = element("p", { className: "cell-note" });
    const where = pyodide.host === location.host ? "this site" : pyodide.host;
    note.append(
      "You can run and change the code on this page, in your browser: the first “Run” loads Python, about " +
        `${megabytes} MB, from ${where}. A cell first runs those before it.`,
    );
    if (/mnist|load_data_wrapper/.test(cells.map((cell) => cell.code).join("\n"))) {
      note.append(" There it has a tenth of the digits, so that some numbers differ from those in the text.");
    }
    cells[0].block.before(note);
  }

  /** Run the cells up to one that have not run, and then that one. */
  async function runThrough(asked) {
    if (running) return;
    if (location.protocol === "file:") {
      asked.say("Python needs this page from a server: `python -m http.server` in the site's folder is one.");
      return;
    }
    running = asked;
    for (const cell of cells) cell.runButton.disabled = cell !== asked;
    asked.showRunning(true);
    let cell = asked;
    try {
      if (!python) await startPython(asked);
      for (cell of cells.filter((each) => each.number < asked.number && !each.hasRun).concat(asked)) {
        asked.say(cell === asked ? "Running…" : `Running cell ${cell.number} first…`);
        if (!(await runOne(cell))) break;
      }
      asked.say(cell.hasRun ? "Done." : cell === asked ? "An error." : `Cell ${cell.number}, which comes first, has an error.`);
    } catch (error) {
      python = null;
      for (const each of cells) each.hasRun = false;
      asked.say(
        error.message === "stopped"
          ? "Stopped. Names and values are gone: the next run begins with the first cell."
          : `Python cannot be loaded or has ended: ${error.message}. Run tries again.`,
      );
    }
    asked.progress.hidden = true;
    asked.showRunning(false);
    for (const each of cells) each.runButton.disabled = false;
    running = null;
  }

  async function startPython(asked) {
    python = new Python();
    asked.progress.hidden = false;
    asked.progress.value = 0;
    asked.say("Loading Python…");
    await python.start(({ number, text }) => {
      asked.progress.value = number - 1;
      asked.say(`Loading ${text} (${number} of 3)…`);
    });
    asked.progress.hidden = true;
  }

  async function runOne(cell) {
    cell.clear();
    cell.printed.hidden = true;
    cell.hasRun = await python.run(cell.number, cell.code, cell);
    return cell.hasRun;
  }

  function stop() {
    python?.stop();
  }

  function element(name, properties) {
    return Object.assign(document.createElement(name), properties);
  }
})();
