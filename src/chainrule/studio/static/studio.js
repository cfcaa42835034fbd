// @ts-check
// The page: doors between the views, one view at a time, and its state in the address: `#NAME?key=value&…`.

import { html, render } from "./vendor/lit-html.js";
import { Model } from "./model.js";
import { Socket } from "./socket.js";
import { VIEWS } from "./views.js";

const LOST = "The studio has ended, or cannot be reached. Start it again with: chainrule studio";

/** @param {string} id @returns {HTMLElement} */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {{ entry: import("./views.js").Entry, visit: number, model: Model, leave: () => void } | null} */
let shown = null;
let visits = 0; // to views: answers to one that has been left are none to the next, whose questions have the same numbers
let lost = false;
/** What each view's state was when it was last seen: its door opens it again. @type {Map<string, string>} */
const states = new Map();

const socket = new Socket(
  (view, content, buffers) => {
    if (shown?.entry.name === view && shown.visit === content.visit) shown.model.fire("msg:custom", content, buffers);
  },
  (connected) => {
    element("connection").textContent = connected ? "" : LOST;
    if (connected && lost) shown?.model.fire("connected");
    lost = !connected;
  },
);

/** The view that an address names, and its state. */
function read() {
  const [name, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  return { entry: VIEWS.find((entry) => entry.name === name) ?? VIEWS[0], query };
}

async function show() {
  const { entry, query } = read();
  const { default: view, defaults = {} } = await import(`./views/${entry.name}.js`);
  if (read().entry !== entry) return; // another door was opened meanwhile
  shown?.leave();
  states.set(entry.name, query);
  const visit = ++visits;
  const model = new Model(defaults, query, {
    send: (content, buffers) => socket.send(entry.name, { visit, ...content }, buffers),
    save: (text) => {
      states.set(entry.name, text);
      if (read().entry === entry) history.replaceState(null, "", address(entry.name)); // not while another door opens
    },
  });
  const el = document.createElement("div");
  el.className = `view ${entry.name}`;
  element("view").replaceChildren(el);
  const leaving = new AbortController();
  shown = { entry, visit, model, leave: () => leaving.abort() };
  leaving.signal.addEventListener("abort", () => model.off());
  document.title = `${entry.title} – chainrule studio`;
  render(doors(entry), element("doors"));
  style(entry.name);
  await view.initialize?.({ model, signal: leaving.signal });
  const cleanup = await view.render({ model, el, signal: leaving.signal });
  if (typeof cleanup === "function") leaving.signal.addEventListener("abort", cleanup);
}

/** A view's address, with its last state. @param {string} name @returns {string} */
function address(name) {
  const query = states.get(name);
  return query ? `#${name}?${query}` : `#${name}`;
}

/** @param {import("./views.js").Entry} entry the open one */
function doors(entry) {
  return html`<ul>
    ${VIEWS.map(({ name, title, about }) => html`
      <li><a href=${address(name)} title=${about} aria-current=${name === entry.name ? "page" : "false"}>${title}</a></li>`)}
  </ul>`;
}

/** Load a view's style sheet, once. @param {string} name */
function style(name) {
  const href = `/static/views/${name}.css`;
  if (document.head.querySelector(`link[href="${href}"]`)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}

element("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the state
  element("view").focus();
});
addEventListener("hashchange", show);
show();
