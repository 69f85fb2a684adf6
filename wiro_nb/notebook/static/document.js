/**
 * The notebook that a widget stands in: the URLs of files beside it, turns among the pages that have it open, and its
 * outputs. An output that shows one of our widgets also holds a static form of it: only that form is saved, so that a
 * notebook opened without its kernel shows a result and not a dead widget. A page opened again while the kernel lives gets
 * the view back.
 */

const LIVE_MIME = "application/vnd.jupyter.widget-view+json";
const NOTE = "wiro_view";
const PATCHED = Symbol.for("wiro_nb.saved.1");
const RANK = Symbol.for("wiro_nb.rank");
const TURN_MS = 2000;
const LAST_RANK = 3;
const GONE = new Set(["terminating", "restarting", "autorestarting", "dead"]);
const timersOf = new WeakMap();

const encodePath = (parts) => parts.filter(Boolean).map(encodeURIComponent).join("/");

/** The address of a file beside a notebook, as the server's own pages build it. */
const builtAddress = (base, notebook, path) => `${base ?? "/"}files/${encodePath([...notebook.split("/").slice(0, -1), ...path.split("/")])}`;

/**
 * Finds the URL of a file named relative to the notebook, as JupyterLab does for static outputs.
 * @param {any} model the widget's model
 * @param {string} path relative, with forward slashes
 * @returns {Promise<string>} "" where the page cannot tell (VS Code, Colab)
 */
export async function fileUrl(model, path) {
  if (!path) return "";
  const context = model.widget_manager?.context;
  const config = document.getElementById("jupyter-config-data");
  const encoded = encodePath(path.split("/"));
  if (context) {
    try {
      return String(await context.urlResolver.getDownloadUrl(await context.urlResolver.resolveUrl(encoded)));
    } catch {
      return config && context.path ? builtAddress(JSON.parse(config.textContent).baseUrl, context.path.replace(/^[^/]*?:/, ""), path) : "";
    }
  }
  const { baseUrl, notebookPath } = document.body.dataset; // the classic notebook
  if (notebookPath) return builtAddress(baseUrl, decodeURIComponent(notebookPath), path);
  // Voila serves what stands beside the notebook beside its page; elsewhere no server of ours is behind the page.
  return config ? new URL(encoded, document.baseURI).href : "";
}

/**
 * Keeps how many pages come before this one, as the kernel tells: the page that opened last is the first.
 * @param {any} notebook the notebook's model
 * @param {string[]} pages the pages that the kernel knows, in their order
 * @param {string} own this page
 */
export function keepRank(notebook, pages, own) {
  notebook[RANK] = pages.includes(own) ? pages.indexOf(own) : pages.length;
}

/** How many pages come before this one. Until the kernel has answered, those whose id in the document is lower. */
function rankOf(notebook) {
  const { awareness } = notebook.sharedModel;
  const before = [...(awareness?.getStates?.().keys() ?? [])].filter((id) => id < awareness.clientID);
  return Math.min(notebook[RANK] ?? before.length, LAST_RANK);
}

/**
 * Calls `act` at once, or when it is this page's turn. Where several people have one notebook open, every page hears the
 * kernel, and two that replace the same output at once leave it there twice. So pages act one after the other, and those
 * behind find that nothing is left to do; where the first one is gone, the next acts a little later. A later call with the
 * same key takes the place of one that still waits: what it would write is out of date.
 * @param {any} notebook the notebook's model
 * @param {string} key what is changed
 * @param {() => void} act
 * @param {number} behind turns to let pass first, for what another page may be doing by itself
 */
export function inTurn(notebook, key, act, behind = 0) {
  if (!timersOf.has(notebook)) timersOf.set(notebook, new Map());
  const timers = timersOf.get(notebook);
  clearTimeout(timers.get(key));
  const turns = notebook.collaborative ? rankOf(notebook) + behind : 0;
  if (turns === 0) return act();
  return timers.set(key, setTimeout(() => !notebook.isDisposed && !notebook.readOnly && act(), turns * TURN_MS));
}

/** The outputs of a notebook's code cells, each with its list and its place in it. */
export function outputsOf(notebook) {
  const lists = [...(notebook.cells ?? [])].filter((cell) => cell.type === "code").map((cell) => cell.outputs);
  return lists.flatMap((outputs) => Array.from({ length: outputs.length }, (_item, index) => ({ outputs, index, output: outputs.get(index) })));
}

export function setOutput({ outputs, index }, data, metadata) {
  outputs.set(index, { output_type: "display_data", data, metadata });
}

export function withoutView(data) {
  const { [LIVE_MIME]: _view, ...rest } = data;
  return rest;
}

/** The output as it is written to the file. */
function savedOutput(output) {
  const isSaved = output?.metadata?.[NOTE] && output.data?.["text/html"];
  return isSaved ? { ...output, data: withoutView(output.data) } : output;
}

/** Makes the notebook leave live views out when it is turned into the file's content. */
function patchSaving(notebook) {
  if (notebook[PATCHED]) return;
  notebook[PATCHED] = true;
  const whole = notebook.toJSON;
  notebook.toJSON = function toJSON() {
    const content = whole.call(this);
    const cells = content?.cells?.map((cell) => (Array.isArray(cell.outputs) ? { ...cell, outputs: cell.outputs.map(savedOutput) } : cell));
    return cells ? { ...content, cells } : content;
  };
}

/** Puts a view back where the file held only its static form; the notebook does not count as changed. */
function putBack(notebook, key) {
  for (const place of outputsOf(notebook)) {
    const { data, metadata } = place.output;
    const note = metadata?.[NOTE];
    if (note?.key !== key || data[LIVE_MIME]) continue;
    const wasDirty = notebook.dirty;
    setOutput(place, { ...data, [LIVE_MIME]: { version_major: 2, version_minor: 0, model_id: note.model_id } }, metadata);
    notebook.dirty = wasDirty;
  }
}

/** @param {any} model a widget's model with the trait `view_key` */
export function saveOnlyStatic(model) {
  const context = model.widget_manager?.context;
  const notebook = context?.model;
  if (typeof notebook?.toJSON !== "function" || !notebook.cells) return;
  patchSaving(notebook);
  const key = model.get("view_key");
  Promise.resolve(context.ready).then(() => inTurn(notebook, `back ${key}`, () => putBack(notebook, key)));
}

/**
 * Takes views of widgets out of the notebook's outputs; their static form stays and is shown.
 * @param {any} notebook the notebook's model
 * @param {(modelId: string, metadata: any) => boolean} isDead
 */
export function dropViews(notebook, isDead) {
  for (const place of outputsOf(notebook)) {
    const { data, metadata } = place.output;
    const id = data?.[LIVE_MIME]?.model_id;
    if (id && data["text/html"] && isDead(id, metadata)) setOutput(place, withoutView(data), metadata);
  }
}

/** Calls `onGone` with the kernel's status when it goes, until `signal` aborts. */
function watchKernel(model, signal, onGone) {
  const changed = model.widget_manager?.context?.sessionContext?.statusChanged;
  const onStatus = (_session, status) => GONE.has(status) && onGone(status);
  changed?.connect(onStatus);
  // The end of a kernel also ends its views, maybe first: `onStatus` still hears of it.
  signal.addEventListener("abort", () => queueMicrotask(() => changed?.disconnect(onStatus)));
}

/** When the kernel goes, its widgets are dead: this leaves the static form in the notebook instead. */
export function leaveStaticForm(model, signal) {
  watchKernel(model, signal, () => {
    const context = model.widget_manager.context;
    const key = model.get("view_key");
    const isDead = (_modelId, metadata) => metadata?.[NOTE]?.key === key;
    if (!context.isDisposed && !context.model?.readOnly) inTurn(context.model, `view ${key}`, () => dropViews(context.model, isDead));
  });
}

/**
 * For widgets that stay in sight: sets `gone` in the browser's half of the model when the kernel goes, to
 * "restarted" or "ended". Views listen to `change:gone`, and read it when they are drawn later.
 */
export function markWhenGone(model, signal) {
  watchKernel(model, signal, (status) => model.set("gone", status.includes("restart") ? "restarted" : "ended"));
}
