/**
 * Keeps live views out of the file, and takes them out of the page when the kernel is gone. An output that shows one
 * of our widgets also holds a static form of it: only that form is saved, so that a notebook opened without its kernel shows a result and not a dead widget.
 * A page opened again while the kernel lives gets the view back.
 */
import { inTurn } from "./leader_election.js";

const LIVE_MIME = "application/vnd.jupyter.widget-view+json";
const NOTE = "wiro_view";
const PATCHED = Symbol.for("wiro_nb.saved.1");

/** The output as it is written to the file. */
function savedOutput(output) {
  if (!output?.metadata?.[NOTE] || !output.data?.[LIVE_MIME] || !output.data["text/html"]) return output;
  const data = Object.fromEntries(Object.entries(output.data).filter(([kind]) => kind !== LIVE_MIME));
  return { ...output, data };
}

function savedCell(cell) {
  return Array.isArray(cell.outputs) ? { ...cell, outputs: cell.outputs.map(savedOutput) } : cell;
}

/** Makes the notebook leave live views out when it is turned into the file's content. */
function patchSaving(document) {
  if (document[PATCHED]) return;
  document[PATCHED] = true;
  const whole = document.toJSON;
  document.toJSON = function toJSON() {
    const content = whole.call(this);
    return Array.isArray(content?.cells) ? { ...content, cells: content.cells.map(savedCell) } : content;
  };
}

/** Puts a view back where the file held only its static form; the notebook does not count as changed. */
function putBack(document, key) {
  for (const cell of document.cells) {
    const outputs = cell.type === "code" ? cell.outputs : null;
    for (let index = 0; outputs && index < outputs.length; index += 1) {
      const { data, metadata } = outputs.get(index);
      const note = metadata?.[NOTE];
      if (note?.key !== key || data[LIVE_MIME]) continue;
      const wasDirty = document.dirty;
      const view = { version_major: 2, version_minor: 0, model_id: note.model_id };
      outputs.set(index, { output_type: "display_data", data: { ...data, [LIVE_MIME]: view }, metadata });
      document.dirty = wasDirty;
    }
  }
}

/** @param {any} model a widget's model with the trait `view_key` */
export function saveOnlyStatic(model) {
  const context = model.widget_manager?.context;
  const document = context?.model;
  if (typeof document?.toJSON !== "function" || !document.cells) return;
  patchSaving(document);
  const key = model.get("view_key");
  Promise.resolve(context.ready).then(() => inTurn(document, `back ${key}`, () => putBack(document, key)));
}

const GONE = new Set(["terminating", "restarting", "autorestarting", "dead"]);

/**
 * Takes views of widgets out of the notebook's outputs; their static form stays and is shown.
 * @param {any} document the notebook's model
 * @param {(modelId: string, metadata: any) => boolean} isDead
 */
export function dropViews(document, isDead) {
  for (const cell of document.cells ?? []) {
    const outputs = cell.type === "code" ? cell.outputs : null;
    for (let index = 0; outputs && index < outputs.length; index += 1) {
      const { data, metadata } = outputs.get(index);
      const id = data?.[LIVE_MIME]?.model_id;
      if (!id || !data["text/html"] || !isDead(id, metadata)) continue;
      const rest = Object.fromEntries(Object.entries(data).filter(([kind]) => kind !== LIVE_MIME));
      outputs.set(index, { output_type: "display_data", data: rest, metadata });
    }
  }
}

/** Calls `onGone` with the kernel's status when it goes; returns what ends the watching. */
function watchKernel(model, onGone) {
  const session = model.widget_manager?.context?.sessionContext;
  if (!session?.statusChanged) return () => {};
  const onStatus = (_session, status) => {
    if (GONE.has(status)) onGone(status);
  };
  session.statusChanged.connect(onStatus);
  return () => session.statusChanged.disconnect(onStatus);
}

/**
 * When the kernel goes, its widgets are dead: this leaves the static form in the notebook instead.
 * @param {any} model the widget's model
 * @returns {() => void} ends the watching
 */
export function leaveStaticForm(model) {
  const context = model.widget_manager?.context;
  if (!context?.model?.cells) return () => {};
  return watchKernel(model, () => {
    const key = model.get("view_key");
    const isDead = (_modelId, metadata) => metadata?.[NOTE]?.key === key;
    if (!context.isDisposed && !context.model.readOnly) inTurn(context.model, `view ${key}`, () => dropViews(context.model, isDead));
  });
}

/**
 * For widgets that stay in sight: sets `gone` in the browser's half of the model when the kernel goes, to
 * "restarted" or "ended". Views listen to `change:gone`, and read it when they are drawn later.
 * @param {any} model the widget's model
 * @returns {() => void} ends the watching
 */
export function markWhenGone(model) {
  return watchKernel(model, (status) => model.set("gone", status.includes("restart") ? "restarted" : "ended"));
}
