// @ts-check
// In a notebook: its model in the place of the studio's. The trait `state` holds what the studio's address would.

import { Model, readState } from "./model.js";
import { lessons } from "./parts/elements.js";

/** @typedef {import("./model.js").Value} Value */

/**
 * Turn a view of the studio into a widget.
 * @param {string} name
 * @param {{ initialize?: Function, render: Function }} view
 * @param {Record<string, Value>} defaults
 */
export function adapt(name, view, defaults) {
  return {
    /** @param {{ model: any, el: HTMLElement }} context anywidget's */
    async render({ model: host, el }) {
      const folder = host.get("lessons"); // of their pages, which a notebook does not have
      lessons.address = folder ? (key) => `${folder}${key}.html` : null;
      const model = new Model(defaults, host.get("state"), {
        send: (content, buffers) => host.send(content, undefined, buffers),
        save: (query) => {
          host.set("state", query);
          host.save_changes();
        },
      });
      const told = (/** @type {any} */ content, /** @type {DataView[]} */ buffers) =>
        model.fire("msg:custom", content, buffers);
      const changed = () => {
        for (const [key, value] of Object.entries(readState(defaults, host.get("state")))) model.set(key, value);
      };
      host.on("msg:custom", told);
      const connected = () => model.fire("connected");
      host.on("change:state", changed);
      host.on("connected", connected);
      const root = document.createElement("div");
      root.className = "chainrule-studio"; // the style is for what is inside
      root.style.colorScheme = theme();
      const place = document.createElement("div");
      place.className = `view ${name}`;
      root.append(place);
      el.append(root);
      const leaving = new AbortController();
      await view.initialize?.({ model, signal: leaving.signal });
      const cleanup = await view.render({ model, el: place, signal: leaving.signal });
      return () => {
        leaving.abort();
        if (typeof cleanup === "function") cleanup();
        model.off();
        host.off("msg:custom", told);
        host.off("change:state", changed);
        host.off("connected", connected);
        root.remove();
      };
    },
  };
}

/** The notebook's own choice of light or dark: JupyterLab's, marimo's, Visual Studio Code's, or the system's. */
function theme() {
  const { dataset, classList } = document.body;
  if (dataset.jpThemeLight) return dataset.jpThemeLight === "true" ? "light" : "dark";
  if (dataset.theme === "light" || dataset.theme === "dark") return dataset.theme;
  if (classList.contains("vscode-dark") || classList.contains("vscode-high-contrast")) return "dark";
  return classList.contains("vscode-light") ? "light" : "light dark";
}
