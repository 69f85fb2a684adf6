/** Small helpers to make and change DOM nodes without ever parsing data as HTML. */

const SVG_NS = "http://www.w3.org/2000/svg";

/** Shapes on a 16 x 16 field: [tag, attributes]; `f` fills instead of drawing a line. */
const ICONS = {
  chevron: [["path", { d: "M6 3.5 10.5 8 6 12.5" }]],
  down: [["path", { d: "M4.5 6.3 8 9.7l3.5-3.4" }]],
  up: [["path", { d: "M4.5 9.7 8 6.3l3.5 3.4" }]],
  film: [["rect", { x: 2, y: 3, width: 12, height: 10, rx: 1 }], ["path", { d: "M5 3v10M11 3v10M2 8h12" }]],
  sound: [["path", { d: "M3 6.4h2.3L8.6 3.6v8.8L5.3 9.6H3zM11 6.2a2.6 2.6 0 0 1 0 3.6M12.7 4.4a5.1 5.1 0 0 1 0 7.2" }]],
  download: [["path", { d: "M8 2.8v7.5M5 7.4l3 3 3-3M2.8 10.6v2.6h10.4v-2.6" }]],
  open: [["path", { d: "M9.5 2.8h3.7v3.7M13 3 7.4 8.6M11.2 9.6v3.6H2.8V4.8h3.7" }]],
  search: [["circle", { cx: 7, cy: 7, r: 4.4 }], ["path", { d: "m10.3 10.3 3.5 3.5" }]],
  pause: [["path", { d: "M4.5 3.2h2.4v9.6H4.5zM9.1 3.2h2.4v9.6H9.1z", f: 1 }]],
  star: [["path", { d: "m8 2 1.8 3.8 4.1.5-3 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1-3-2.9 4.1-.5z" }]],
  loop: [["path", { d: "M3 7.5A3.5 3.5 0 0 1 6.5 4H13M11 2l2 2-2 2M13 8.5A3.5 3.5 0 0 1 9.5 12H3M5 14l-2-2 2-2" }]],
  back: [["path", { d: "M10.5 3.8 6.2 8l4.3 4.2M4 3.8v8.4" }]],
  forward: [["path", { d: "M5.5 3.8 9.8 8l-4.3 4.2M12 3.8v8.4" }]],
  play: [["path", { d: "M5 3.2v9.6L13 8z", f: 1 }]],
  copy: [["rect", { x: 5.5, y: 5.5, width: 8, height: 8, rx: 1 }], ["path", { d: "M10.5 5.3V2.5h-8v8h2.8" }]],
  cross: [["path", { d: "m4 4 8 8M12 4l-8 8" }]],
  upload: [["path", { d: "M8 10.5V3M5 5.9 8 2.9l3 3M2.8 10.6v2.6h10.4v-2.6" }]],
  file: [["path", { d: "M4 2h5l3 3v9H4zM9 2v3h3" }]],
  reset: [["path", { d: "M3.2 8a4.8 4.8 0 1 0 1.6-3.6M3 2.6v2.9h2.9" }]],
  plus: [["path", { d: "M8 3.2v9.6M3.2 8h9.6" }]],
  warning: [["path", { d: "M8 2.2 14.3 13.4H1.7z" }], ["path", { d: "M8 6.4v3.2M8 11.5v.1" }]],
  dice: [
    ["rect", { x: 2.2, y: 2.2, width: 11.6, height: 11.6, rx: 2 }],
    ["circle", { cx: 5.4, cy: 5.4, r: 1.1, f: 1 }],
    ["circle", { cx: 10.6, cy: 10.6, r: 1.1, f: 1 }],
    ["circle", { cx: 8, cy: 8, r: 1.1, f: 1 }],
  ],
  pin: [["path", { d: "M5.8 2.2h4.4M6.5 2.2v4.1L4.2 9h7.6L9.5 6.3V2.2M8 9v4.8" }]],
  cloud: [["path", { d: "M4.7 12.5a3 3 0 0 1-.4-6 4 4 0 0 1 7.6 1 2.5 2.5 0 0 1-.4 5z" }]],
  flask: [["path", { d: "M6.3 2.2v4L2.9 12.4a.9.9 0 0 0 .8 1.4h8.6a.9.9 0 0 0 .8-1.4L9.7 6.2v-4M5.2 2.2h5.6M4.6 10h6.8" }]],
  slot: [["circle", { cx: 8, cy: 8, r: 6.2, "stroke-dasharray": "2.6 2.3" }]],
  queued: [["circle", { cx: 8, cy: 8, r: 6.2 }], ["path", { d: "M8 4.6V8l2.3 1.6" }]],
  ring: [
    ["circle", { cx: 8, cy: 8, r: 6, opacity: 0.3, "stroke-width": 2 }],
    ["path", { d: "M8 2a6 6 0 1 1-5.6 8.2", "stroke-width": 2 }],
  ],
  done: [["circle", { cx: 8, cy: 8, r: 6.2 }], ["path", { d: "m5.2 8.3 2 1.9 3.7-4" }]],
  failed: [["path", { d: "M5.4 1.9h5.2l3.5 3.5v5.2l-3.5 3.5H5.4l-3.5-3.5V5.4z" }], ["path", { d: "M8 4.9v3.6M8 11v.1" }]],
  cancelled: [["circle", { cx: 8, cy: 8, r: 6.2 }], ["path", { d: "m3.7 3.7 8.6 8.6" }]],
  lost: [
    ["path", { d: "M2 6.2a9 9 0 0 1 12 0M4.4 8.9A5.4 5.4 0 0 1 8 7.6M2.5 2.5l11 11" }],
    ["circle", { cx: 8, cy: 12, r: 1.2, f: 1 }],
  ],
};

let lastId = 0;

/** @param {string} stem @returns {string} an id no other node has */
export function freshId(stem) {
  lastId += 1;
  return `wiro-${stem}-${lastId}-${Math.random().toString(36).slice(2, 7)}`;
}

/**
 * Makes an element. `class` and other attributes are set as text, `on` holds listeners, null is left out.
 * @param {string} tag
 * @param {Object<string, any>} [attributes]
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else setAttribute(node, name, value);
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

/** Sets, changes or removes an attribute, touching the node only when something changes. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
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

/** Sets several attributes. @param {Object<string, any>} values */
export function setAttributes(node, values) {
  for (const [name, value] of Object.entries(values)) setAttribute(node, name, value);
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

/**
 * @param {string} name one of ICONS
 * @param {boolean} [small]
 * @returns {SVGElement}
 */
export function icon(name, small = false) {
  const svg = document.createElementNS(SVG_NS, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", small ? "wiro-i wiro-i-s" : "wiro-i");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  for (const [tag, attributes] of ICONS[name] ?? []) {
    const shape = document.createElementNS(SVG_NS, tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "f") shape.setAttribute("class", "wiro-fill");
      else shape.setAttribute(key, String(value));
    }
    svg.append(shape);
  }
  return svg;
}

/**
 * Makes a button.
 * @param {string} label
 * @param {{icon?: string, kind?: string, title?: string, onClick: (event: Event) => void}} options
 *   `kind`: extra classes; with "icon" in it the label is for screen readers only.
 */
export function button(label, options) {
  const kind = options.kind ?? "";
  const bare = kind.split(" ").includes("wiro-btn-icon");
  return h(
    "button",
    {
      type: "button",
      class: `wiro-btn ${kind}`.trim(),
      "aria-label": bare ? label : null,
      title: options.title ?? (bare ? label : null),
      on: { click: options.onClick },
    },
    options.icon ? icon(options.icon, true) : null,
    bare ? null : h("span", {}, label),
  );
}

/**
 * Text with every amount of money in a span of its own: JupyterLab reads `$...$` as maths.
 * @param {Node} node @param {string} text
 */
export function setMoneyText(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent === wanted) return;
  node.replaceChildren(
    ...wanted.split(/(\$[\d.,]*\d)/).filter(Boolean).map((part) => (part.startsWith("$") ? h("span", {}, part) : part)),
  );
}

/** A line of text with its amounts of money. @param {string} text */
export function moneyLine(text, attributes = { dir: "auto" }) {
  const node = h("div", attributes);
  setMoneyText(node, text);
  return node;
}

/** The icon and word of a status. @param {boolean} [small] */
export function makeState(small = false) {
  const mark = h("span", { class: "wiro-state-i" });
  const word = h("span", { class: "wiro-num" });
  const node = h("span", { class: "wiro-state" }, mark, word);
  let shown = "";
  const draw = (data, text = data.label) => {
    setAttribute(node, "class", `wiro-state wiro-variant-${data.variant}`);
    setText(word, text);
    if (shown !== data.icon) mark.replaceChildren(icon(data.icon, small));
    shown = data.icon;
  };
  return { node, draw };
}

/** Shows how far something is on a bar with one child; null is none. @param {number|null|undefined} percent */
export function setProgress(bar, percent, label, text) {
  const known = percent !== null && percent !== undefined;
  setShown(bar, known);
  bar.firstElementChild.style.width = known ? `${percent}%` : "";
  setAttributes(bar, known ? { role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100",
    "aria-valuenow": Math.round(percent), "aria-valuetext": text ?? `${label}, ${Math.round(percent)} percent` } : { role: null });
}

/** @param {number} seconds @returns {string} 0:05, 12:34, 1:02:03 */
export function clockText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** @param {number} bytes @returns {string} 172 KB, 1.2 MB */
export function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1e6) return `${Math.round(bytes / 1000)} KB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
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
