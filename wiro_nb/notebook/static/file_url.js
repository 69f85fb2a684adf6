/** The URL of a file beside the notebook; shared by widgets that show clips. */

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
export async function fileUrl(model, path) {
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
