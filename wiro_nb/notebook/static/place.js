/** Where a file beside the notebook can be fetched from; shared by widgets that show clips. */
import { inTurn } from "./turns.js";

/** The address as the server's own pages build it, where there is no resolver. */
function builtAddress(notebook, path) {
  const config = document.getElementById("jupyter-config-data");
  if (!config || typeof notebook !== "string") return "";
  try {
    const base = JSON.parse(config.textContent).baseUrl ?? "/";
    const local = notebook.includes(":") ? notebook.slice(notebook.indexOf(":") + 1) : notebook;
    const folder = local.split("/").slice(0, -1);
    return `${base}files/${[...folder, ...path.split("/")].filter(Boolean).map(encodeURIComponent).join("/")}`;
  } catch {
    return "";
  }
}

/** The address on pages without a document of JupyterLab's kind: the classic notebook, and Voila. */
function pageAddress(path) {
  const { baseUrl, notebookPath } = document.body.dataset;
  if (notebookPath) {
    const folder = decodeURIComponent(notebookPath).split("/").slice(0, -1);
    return `${baseUrl ?? "/"}files/${[...folder, ...path.split("/")].filter(Boolean).map(encodeURIComponent).join("/")}`;
  }
  // Voila serves what stands beside the notebook beside its page; elsewhere no server of ours is behind the page.
  if (!document.getElementById("jupyter-config-data")) return "";
  return new URL(path.split("/").map(encodeURIComponent).join("/"), document.baseURI).href;
}

/**
 * Finds the URL of a file named relative to the notebook, as JupyterLab does for static outputs.
 * @param {any} model the widget's model
 * @param {string} path relative, with forward slashes
 * @returns {Promise<string>} "" where the page cannot tell (VS Code, Colab)
 */
export async function clipAddress(model, path) {
  if (!path) return "";
  const context = model.widget_manager?.context;
  if (!context) return pageAddress(path);
  try {
    const resolver = context.urlResolver;
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    const resolved = await resolver.resolveUrl(encoded);
    return String(await resolver.getDownloadUrl(resolved));
  } catch {
    return builtAddress(context.path, path);
  }
}

const VIEW_MIME = "application/vnd.jupyter.widget-view+json";
const GONE = new Set(["terminating", "restarting", "autorestarting", "dead"]);

/** Takes one widget's view out of the notebook's outputs; their static form stays and is shown. */
function dropView(document, modelId) {
  for (const cell of document?.cells ?? []) {
    const outputs = cell.type === "code" ? cell.outputs : null;
    for (let index = 0; outputs && index < outputs.length; index += 1) {
      const { data, metadata } = outputs.get(index);
      if (data?.[VIEW_MIME]?.model_id !== modelId || !data["text/html"]) continue;
      const rest = Object.fromEntries(Object.entries(data).filter(([kind]) => kind !== VIEW_MIME));
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
    const id = model.get("view_key");
    if (!context.isDisposed && !context.model.readOnly) inTurn(context.model, `view ${id}`, () => dropView(context.model, id));
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
