/** Small helpers to make and change DOM nodes without ever parsing data as HTML. */

const SVG_NS = "http://www.w3.org/2000/svg";
const DISC = "M1.8 8a6.2 6.2 0 1 0 12.4 0a6.2 6.2 0 1 0-12.4 0";

/** Paths on a 16 x 16 field; one with attributes is a list of both. */
const FILL = { class: "wiro-fill" };
const ICONS = {
  chevron: ["M6 3.5 10.5 8 6 12.5"],
  down: ["M4.5 6.3 8 9.7l3.5-3.4"],
  up: ["M4.5 9.7 8 6.3l3.5 3.4"],
  film: ["M3 3h10a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM5 3v10M11 3v10M2 8h12"],
  sound: ["M3 6.4h2.3L8.6 3.6v8.8L5.3 9.6H3zM11 6.2a2.6 2.6 0 0 1 0 3.6M12.7 4.4a5.1 5.1 0 0 1 0 7.2"],
  download: ["M8 2.8v7.5M5 7.4l3 3 3-3M2.8 10.6v2.6h10.4v-2.6"],
  open: ["M9.5 2.8h3.7v3.7M13 3 7.4 8.6M11.2 9.6v3.6H2.8V4.8h3.7"],
  search: ["M2.6 7a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0-8.8 0m7.7 3.3 3.5 3.5"],
  pause: [["M4.5 3.2h2.4v9.6H4.5zM9.1 3.2h2.4v9.6H9.1z", FILL]],
  star: ["m8 2 1.8 3.8 4.1.5-3 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1-3-2.9 4.1-.5z"],
  loop: ["M3 7.5A3.5 3.5 0 0 1 6.5 4H13M11 2l2 2-2 2M13 8.5A3.5 3.5 0 0 1 9.5 12H3M5 14l-2-2 2-2"],
  back: ["M10.5 3.8 6.2 8l4.3 4.2M4 3.8v8.4"],
  forward: ["M5.5 3.8 9.8 8l-4.3 4.2M12 3.8v8.4"],
  play: [["M5 3.2v9.6L13 8z", FILL]],
  copy: ["M6.5 5.5h6a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-6a1 1 0 0 1-1-1v-6a1 1 0 0 1 1-1zM10.5 5.3V2.5h-8v8h2.8"],
  cross: ["m4 4 8 8M12 4l-8 8"],
  upload: ["M8 10.5V3M5 5.9 8 2.9l3 3M2.8 10.6v2.6h10.4v-2.6"],
  file: ["M4 2h5l3 3v9H4zM9 2v3h3"],
  reset: ["M3.2 8a4.8 4.8 0 1 0 1.6-3.6M3 2.6v2.9h2.9"],
  plus: ["M8 3.2v9.6M3.2 8h9.6"],
  warning: ["M8 2.2 14.3 13.4H1.7zM8 6.4v3.2M8 11.5v.1"],
  dice: ["M4.2 2.2h7.6a2 2 0 0 1 2 2v7.6a2 2 0 0 1-2 2H4.2a2 2 0 0 1-2-2V4.2a2 2 0 0 1 2-2z",
    ["M4.3 5.4a1.1 1.1 0 1 0 2.2 0a1.1 1.1 0 1 0-2.2 0M9.5 10.6a1.1 1.1 0 1 0 2.2 0a1.1 1.1 0 1 0-2.2 0M6.9 8a1.1 1.1 0 1 0 2.2 0a1.1 1.1 0 1 0-2.2 0", FILL]],
  pin: ["M5.8 2.2h4.4M6.5 2.2v4.1L4.2 9h7.6L9.5 6.3V2.2M8 9v4.8"],
  cloud: ["M4.7 12.5a3 3 0 0 1-.4-6 4 4 0 0 1 7.6 1 2.5 2.5 0 0 1-.4 5z"],
  flask: ["M6.3 2.2v4L2.9 12.4a.9.9 0 0 0 .8 1.4h8.6a.9.9 0 0 0 .8-1.4L9.7 6.2v-4M5.2 2.2h5.6M4.6 10h6.8"],
  slot: [[DISC, { "stroke-dasharray": "2.6 2.3" }]],
  queued: [`${DISC}M8 4.6V8l2.3 1.6`],
  ring: [["M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0", { opacity: 0.3, "stroke-width": 2 }], ["M8 2a6 6 0 1 1-5.6 8.2", { "stroke-width": 2 }]],
  done: [DISC, "m5.2 8.3 2 1.9 3.7-4"],
  failed: ["M5.4 1.9h5.2l3.5 3.5v5.2l-3.5 3.5H5.4l-3.5-3.5V5.4zM8 4.9v3.6M8 11v.1"],
  cancelled: [`${DISC}M3.7 3.7l8.6 8.6`],
  lost: ["M2 6.2a9 9 0 0 1 12 0M4.4 8.9A5.4 5.4 0 0 1 8 7.6M2.5 2.5l11 11", ["M6.8 12a1.2 1.2 0 1 0 2.4 0a1.2 1.2 0 1 0-2.4 0", FILL]],
};

/** The classes of a small button that shows its icon alone. */
export const SMALL_ICON = "wiro-btn-s wiro-btn-icon wiro-btn-muted";

/** @param {string} stem @returns {string} an id no other node has */
export const freshId = (stem) => `wiro-${stem}-${Math.random().toString(36).slice(2)}`;

/**
 * Makes an element. Attributes are set as text, `on` holds listeners; attributes and children that are null or false are left out.
 * @param {string} tag
 * @param {Object<string, any>} [attributes]
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
export function h(tag, { on = {}, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  setAttributes(node, attributes);
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets, changes or removes an attribute, touching the node only when something changes. */
export function setAttribute(node, name, value) {
  const text = value === true ? "" : value === null || value === undefined || value === false ? null : String(value);
  if (node.getAttribute(name) === text) return;
  if (text === null) node.removeAttribute(name);
  else node.setAttribute(name, text);
}

/** Sets several attributes. @param {Object<string, any>} values */
export function setAttributes(node, values) {
  for (const [name, value] of Object.entries(values)) setAttribute(node, name, value);
}

/** Sets a trait in the browser and in the kernel. */
export function put(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/** What the browser remembers under a key, with `fallback` for what it does not; a browser without storage forgets. */
export function recall(key, fallback) {
  try {
    return { ...fallback, ...JSON.parse(localStorage.getItem(key) ?? "{}") };
  } catch {
    return fallback;
  }
}

/** Remembers values under a key. */
export function remember(key, values) {
  try {
    localStorage.setItem(key, JSON.stringify({ ...recall(key, {}), ...values }));
  } catch {
    // A browser without storage starts from the defaults each time.
  }
}

/** Changes a node's text only when it differs, so that selections and screen readers stay calm. */
export function setText(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Shows or hides a node. */
export function setShown(node, shown) {
  if (node.hidden === Boolean(shown)) node.hidden = !shown;
}

/** True when `data` differs from that of the last call for this node, which then is drawn anew. */
export function hasChanged(node, data) {
  const [before, now] = [node.shownKey, JSON.stringify(data)];
  node.shownKey = now;
  return before !== now;
}

/** Fills a node with one child for each item, when the items have changed; without items it is hidden. */
export function drawList(node, items, makeChild) {
  if (!hasChanged(node, items)) return;
  node.replaceChildren(...items.map(makeChild).filter(Boolean));
  setShown(node, items.length > 0);
}

/**
 * @param {string} name one of ICONS
 * @param {boolean} [small]
 * @returns {SVGElement}
 */
export function icon(name, small = false) {
  const make = (tag, attributes) => {
    const node = document.createElementNS(SVG_NS, tag);
    setAttributes(node, attributes);
    return node;
  };
  const svg = make("svg", { viewBox: "0 0 16 16", class: small ? "wiro-i wiro-i-s" : "wiro-i", "aria-hidden": "true", focusable: "false" });
  svg.append(...(ICONS[name] ?? []).map((shape) => {
    const [d, attributes] = [shape].flat();
    return make("path", { d, ...attributes });
  }));
  return svg;
}

/**
 * Makes a button.
 * @param {string} label
 * @param {{icon?: string, kind?: string, title?: string, onClick: (event: Event) => void}} options
 *   `kind`: extra classes; with "wiro-btn-icon" in it the label is for screen readers only.
 */
export function button(label, { icon: name, kind = "", title, onClick }) {
  const isBare = kind.includes("wiro-btn-icon");
  return h("button", { type: "button", class: `wiro-btn ${kind}`.trim(), "aria-label": isBare && label, title: title ?? (isBare && label), on: { click: onClick } },
    name ? icon(name, true) : null, isBare ? null : h("span", {}, label));
}

/**
 * A button that asks the kernel for a text. `answer` puts the text on the clipboard, and the button says so for a while.
 * @param {HTMLElement} place where the text is shown if the browser refuses
 */
export function makeCopyButton(label, onClick, place) {
  const node = button(label, { icon: "copy", kind: "wiro-btn-s", onClick });
  const answer = async (text) => {
    setText(node.lastElementChild, (await copyText(text, place)) ? "Copied" : "Press Ctrl+C");
    setTimeout(() => setText(node.lastElementChild, label), 2000);
  };
  return { node, answer };
}

/** A folded part under a title, with something muted beside it. */
export function disclosure(title, aside, ...children) {
  return h("details", { class: "wiro-more" }, h("summary", {}, h("span", { class: "wiro-chev" }, icon("chevron", true)), title, aside), ...children);
}

/**
 * Text with every amount of money in a span of its own: JupyterLab reads `$...$` as maths.
 * @param {Node} node @param {string} text
 */
export function setMoneyText(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent === wanted) return;
  node.replaceChildren(...wanted.split(/(\$[\d.,]*\d)/).filter(Boolean).map((part) => (part.startsWith("$") ? h("span", {}, part) : part)));
}

/** An element with text and its amounts of money. @param {string} text */
export function moneyNode(tag, text, attributes = {}) {
  const node = h(tag, attributes);
  setMoneyText(node, text);
  return node;
}

/** The icon and word of a status. @param {boolean} [small] */
export function makeState(small = false) {
  const mark = h("span", { class: "wiro-state-i" });
  const word = h("span", { class: "wiro-num" });
  const node = h("span", { class: "wiro-state" }, mark, word);
  const draw = (data, text = data.label) => {
    setAttribute(node, "class", `wiro-state wiro-variant-${data.variant}`);
    setText(word, text);
    setShown(word, text);
    if (hasChanged(mark, data.icon)) mark.replaceChildren(icon(data.icon, small));
  };
  return { node, draw };
}

/** Tells screen readers how far something is. `percent` is null where that is not known, and undefined where nothing moves. */
export function setProgressRole(node, percent, label, text) {
  const isBar = percent !== undefined;
  setAttributes(node, { role: isBar && "progressbar", "aria-label": isBar && label, "aria-valuemin": isBar && "0", "aria-valuemax": isBar && "100",
    "aria-valuenow": isBar && percent !== null && Math.round(percent), "aria-valuetext": isBar && text });
}

/** Shows how far something is on a bar with one child; without a percent the bar is hidden. @param {number|null|undefined} percent */
export function setProgress(bar, percent, label, text = `${label}, ${Math.round(percent)} percent`) {
  setShown(bar, (percent ?? null) !== null);
  bar.firstElementChild.style.width = `${percent ?? 0}%`;
  setProgressRole(bar, percent ?? undefined, label, text);
}

/** @param {number} seconds @returns {string} 0:05, 12:34, 1:02:03 */
export function clockText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** @param {number} seconds @returns {string} 0:02.4 */
export function momentText(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

/** @param {number} bytes @returns {string} 172 KB, 1.2 MB */
export function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * Puts a text on the clipboard; where the browser refuses, shows it selected, ready for the keys.
 * @param {string} text @param {HTMLElement} place where a fallback may stand
 * @returns {Promise<boolean>} true when it is on the clipboard
 */
export async function copyText(text, place) {
  place.replaceChildren();
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "wiro-in wiro-mono", rows: "4", readonly: true, "aria-label": "Text to copy" });
    area.value = text;
    place.append(area);
    area.focus();
    area.select();
    return false;
  }
}

const TYPED_INTO = "input, textarea, select";

/**
 * Puts a widget's nodes in place. Keys pressed in them belong to them: JupyterLab takes a focused button in an output for
 * the notebook itself, where "a" would insert a cell and "d d" delete this one. Shortcuts with Ctrl, Alt or Cmd stay with
 * JupyterLab; in a text only the one that saves. Escape on anything that is not typed into goes back to the cell.
 */
export function mount(el, ...nodes) {
  el.classList.add("wiro");
  el.replaceChildren(...nodes);
  el.addEventListener("keydown", (event) => {
    const isTyped = event.target.matches(TYPED_INTO);
    const isShortcut = event.ctrlKey || event.metaKey || event.altKey;
    if (isTyped ? isShortcut && !event.altKey && event.key.toLowerCase() === "s" : isShortcut) return;
    event.stopPropagation();
    if (event.repeat && event.key === "Enter" && event.target.matches("button")) event.preventDefault(); // one press, one run
    if (event.key === "Escape" && !event.defaultPrevented && !isTyped) el.closest(".jp-Cell")?.focus({ preventScroll: true });
  });
}
