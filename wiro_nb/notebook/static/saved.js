/**
 * Keeps live views out of the file. An output that shows one of our widgets also holds a static form of it:
 * only that form is saved, so that a notebook opened without its kernel shows a result and not a dead widget.
 * A page opened again while the kernel lives gets the view back.
 */
import { inTurn } from "./turns.js";

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
