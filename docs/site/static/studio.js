// @ts-check
// A view of the studio in a page of the site: the module that notebooks load, over a record of its answers (recorded.py).
// A click loads Python (worker.js), whose answers are those of the same Python side, to any question.
(() => {
  "use strict";
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const root = new URL("..", script.src); // the site's, from _static/studio.js
  const pyodide = new URL(script.dataset.pyodide ?? "", root);
  const el = /** @type {HTMLElement | null} */ (document.querySelector("[data-studio]"));
  if (!el) return;
  const MEGABYTES = 25;
  const UNKNOWN = "This page answers from a record: it knows the bars, the beginnings, the temperatures and a few seeds, one " +
    "step or two from each beginning. Load Python, below, to ask anything.";

  /** @typedef {{ view: string, module: string, style: string, answers: Record<string, any[]> }} StudioRecord */

  /** The model of a widget, as a notebook has it. */
  class Host {
    /** @param {StudioRecord} record */
    constructor(record) {
      this.record = record;
      /** @type {Record<string, any>} */
      this.values = { state: location.hash.slice(1), lessons: new URL("lessons/", root).href };
      /** @type {Map<string, Set<Function>>} */
      this.listeners = new Map();
      /** @type {Worker | null} */
      this.python = null; // once it is loaded
    }

    /** @param {string} key */
    get(key) {
      return this.values[key];
    }

    /** @param {string} key @param {any} value */
    set(key, value) {
      this.values[key] = value;
    }

    save_changes() {
      history.replaceState(null, "", this.values.state ? `#${this.values.state}` : location.pathname);
    }

    /** @param {string} event @param {Function} listener */
    on(event, listener) {
      this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(listener));
    }

    /** @param {string} event @param {Function} listener */
    off(event, listener) {
      this.listeners.get(event)?.delete(listener);
    }

    /** @param {string} event @param {...any} values */
    fire(event, ...values) {
      for (const listener of this.listeners.get(event) ?? []) listener(...values);
    }

    /** @param {any} content */
    send(content) {
      if (this.python) this.python.postMessage({ kind: "ask", view: this.record.view, content });
      else setTimeout(() => this.remember(content));
    }

    /** Answer from the record. @param {any} content */
    remember(content) {
      const { ask, number, model, text, temperature, seed } = content;
      const question = JSON.stringify(ask === "read" ? [model, text, temperature, seed] : [ask]);
      const [told, ...buffers] = this.record.answers[question] ?? [{ tell: "reading", error: UNKNOWN }];
      const views = buffers.map((buffer) => new DataView(Uint8Array.from(atob(buffer), (byte) => byte.charCodeAt(0)).buffer));
      this.fire("msg:custom", ask === "read" ? { ...told, number } : told, views);
    }
  }

  /** Load Python, and let it answer from then on. @param {Host} host @param {HTMLButtonElement} button @param {HTMLElement} status */
  function load(host, button, status) {
    button.disabled = true;
    status.textContent = "Loading Python …";
    const fail = (/** @type {string} */ text) => {
      status.textContent = `Python could not be loaded: ${text}`;
      button.disabled = false;
      host.python = null;
    };
    let worker;
    try {
      worker = new Worker(new URL("worker.js", script.src));
    } catch {
      return fail("a page that is opened as a file cannot; chainrule docs --serve serves the site");
    }
    const loading = worker;
    loading.onerror = (event) => fail(event.message || "its worker could not be started");
    loading.onmessage = ({ data }) => {
      if (data.kind === "failed") fail(data.text);
      else if (data.kind === "stage") status.textContent = `Loading ${data.text} …`;
      else if (data.kind === "ready") {
        status.textContent = "Python is here: ask anything.";
        host.python = loading;
        host.fire("connected");
      } else if (data.kind === "answer") {
        host.fire("msg:custom", JSON.parse(data.text), data.buffers.map((/** @type {Uint8Array} */ bytes) => new DataView(bytes.buffer)));
      }
    };
    loading.postMessage({
      kind: "start",
      pyodide: pyodide.href,
      chainrule: new URL("browser/chainrule.zip", root).href,
    });
  }

  /** The site's choice of light or dark. */
  function dress() {
    const theme = document.body.dataset.theme ?? "auto";
    const view = /** @type {HTMLElement | null} */ (document.querySelector(".chainrule-studio"));
    if (view) view.style.colorScheme = theme === "auto" ? "light dark" : theme;
  }

  async function start() {
    const record = /** @type {StudioRecord} */ (/** @type {any} */ (window).studioRecord);
    const sheet = document.createElement("style");
    sheet.textContent = record.style;
    document.head.append(sheet);
    const address = URL.createObjectURL(new Blob([record.module], { type: "text/javascript" }));
    const { default: widget } = await import(address);
    const host = new Host(record);
    const place = /** @type {HTMLElement} */ (el);
    place.replaceChildren();
    await widget.render({ model: host, el: place });
    dress();
    new MutationObserver(dress).observe(document.body, { attributeFilter: ["data-theme"] });
    const bar = document.createElement("p");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Load Python (${MEGABYTES} MB), to ask anything`;
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    bar.className = "studio-bar";
    bar.append(button, status);
    place.append(bar);
    button.onclick = () => load(host, button, status);
  }

  const record = document.createElement("script");
  record.src = new URL(`studio/${el.dataset.studio}.js`, root).href;
  record.onload = start;
  document.head.append(record);
})();
