/**
 * Keys pressed in a widget belong to it. JupyterLab takes a focused button in an output for the notebook itself:
 * "a" would insert a cell and "d d" delete this one. Shortcuts with Ctrl, Alt or Cmd stay with JupyterLab; in a
 * text only the one that saves, for the others edit text here and cells there.
 */
const TYPED_INTO = "input, textarea, select";

function isForJupyter(event) {
  const isShortcut = event.ctrlKey || event.metaKey || event.altKey;
  if (!event.target.matches(TYPED_INTO)) return isShortcut;
  return (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "s";
}

/** Keeps keys in `root`; Escape on anything that is not typed into goes back to the cell. */
export function stopKeyPropagation(root) {
  root.addEventListener("keydown", (event) => {
    if (isForJupyter(event)) return;
    event.stopPropagation();
    if (event.repeat && event.key === "Enter" && event.target.matches("button")) event.preventDefault(); // one press, one run
    if (event.key !== "Escape" || event.defaultPrevented || event.target.matches(TYPED_INTO)) return;
    root.closest(".jp-Cell")?.focus({ preventScroll: true });
  });
}
