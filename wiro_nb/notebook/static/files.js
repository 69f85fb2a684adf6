/**
 * The file control: drop, dialog, URL or path, an earlier run; pictures, order, removal.
 */
import { h, icon, button, setText, setShown, setAttribute, sizeText, clockText, freshId } from "./dom.js";
import { fileFacts, sendFile } from "./upload.js";
import { makeRunPicker } from "./picker.js";

const ADD_AFTER_MS = 300;
const ITEM = "application/x-wiro-item";

/** Why a file cannot be taken, or "". */
function refusal(file, limit, { media, accepts }) {
  if (file.size === 0) return `${file.name} is empty.`;
  if (file.size > limit) return `${file.name} has ${sizeText(file.size)}; at most ${Math.floor(limit / 1048576)} MB are taken.`;
  if (media && file.type && !file.type.startsWith(`${media}/`)) return `${file.name} is ${file.type}; this input takes ${accepts}.`;
  return "";
}

function iconOf(item) {
  const type = item.type ?? "";
  if (type.startsWith("audio/") || /\.(mp3|wav|m4a)($|\?)/i.test(item.source)) return "sound";
  return type.startsWith("video/") || /\.(mp4|webm|mov)($|\?)/i.test(item.source) ? "film" : "file";
}

function thumbNode(item) {
  const address = item.thumb ?? (item.url && /\.(png|jpe?g|webp|gif)($|\?)/i.test(item.source) ? item.source : null);
  const sign = () => icon(iconOf(item));
  if (!address) return h("figure", { class: "wiro-thumb" }, sign());
  const picture = h("img", { src: address, alt: item.name, referrerpolicy: "no-referrer", loading: "lazy", draggable: "false" });
  const figure = h("figure", { class: "wiro-thumb" }, picture);
  picture.addEventListener("error", () => figure.replaceChildren(sign()));
  return figure;
}

function factsText(item) {
  const parts = [];
  if (item.width && item.height) parts.push(`${item.width} × ${item.height}`);
  if (item.duration_s) parts.push(clockText(item.duration_s));
  if (item.size) parts.push(sizeText(item.size));
  if (item.url) parts.push("URL");
  return parts.join(", ");
}

/** One file already taken: picture, name, facts, order and removal. */
function itemNode(item, index, count, change) {
  const small = "wiro-btn-s wiro-btn-muted";
  const acts = h("div", { class: "wiro-row" });
  const mover = (what, name, stop) => {
    const node = button(`Move ${item.name} ${what}`, { icon: name, kind: "wiro-btn-s wiro-btn-icon", onClick: () => stop || change(what, index) });
    node.dataset.move = what;
    setAttribute(node, "aria-disabled", stop ? "true" : null);
    return node;
  };
  if (count > 1) acts.append(mover("earlier", "up", index === 0), mover("later", "down", index === count - 1));
  acts.append(button("Remove", { icon: "cross", kind: small, title: `Remove ${item.name}`, onClick: () => change("remove", index) }));
  return h(
    "li",
    { draggable: count > 1 ? "true" : null, title: count > 1 ? "Drag to change the order" : null },
    thumbNode(item),
    h(
      "div",
      {},
      h("div", { class: item.problem ? "wiro-err" : null, title: item.problem }, item.problem ? icon("warning", true) : null,
        h("span", { dir: "auto" }, count > 1 ? `${index + 1}. ` : "", item.name), " ", h("span", { class: "wiro-muted wiro-num" }, factsText(item))),
      acts,
    ),
  );
}

/** One file on its way. */
function progressNode(name, cancel) {
  const fill = h("i", {});
  const text = h("span", { class: "wiro-muted wiro-num" }, "0%");
  const bar = h("div", { class: "wiro-bar", role: "progressbar", "aria-label": `Sending ${name}`, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" }, fill);
  const node = h("li", {}, h("figure", { class: "wiro-thumb" }, icon("upload")), h("div", {},
    h("div", { class: "wiro-row" }, h("span", { dir: "auto" }, name), text, button("Cancel", { kind: "wiro-btn-s wiro-btn-muted", onClick: cancel })), bar));
  let share = 0;
  let silent = false;
  const paint = () => {
    const percent = Math.round(share * 100);
    fill.style.width = `${percent}%`;
    setAttribute(bar, "aria-valuenow", percent);
    setText(text, silent ? `${percent}%, waiting for the kernel` : `${percent}%`);
  };
  return { node, progress: (value) => { share = value; paint(); }, silence: (value) => { silent = value; paint(); } };
}

/** Lets the items of a list be dragged to another place in it. */
function makeSortable(list, move) {
  let dragged = -1;
  const place = (event) => {
    const node = event.target.closest?.("li");
    const index = [...list.children].indexOf(node);
    if (index < 0) return null;
    const box = node.getBoundingClientRect();
    return { node, after: event.clientY > box.top + box.height / 2, index };
  };
  const unmark = () => [...list.children].forEach((node) => node.classList.remove("wiro-before", "wiro-after"));
  const stop = () => {
    unmark();
    dragged = -1;
  };
  list.addEventListener("dragstart", (event) => {
    dragged = [...list.children].indexOf(event.target.closest("li"));
    event.dataTransfer.setData(ITEM, String(dragged));
    event.dataTransfer.effectAllowed = "move";
    event.stopPropagation();
  });
  list.addEventListener("dragover", (event) => {
    const found = dragged >= 0 ? place(event) : null;
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    unmark();
    found.node.classList.add(found.after ? "wiro-after" : "wiro-before");
  });
  list.addEventListener("drop", (event) => {
    const found = dragged >= 0 ? place(event) : null;
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    const from = dragged;
    const to = found.index + (found.after ? 1 : 0) - (found.index + (found.after ? 1 : 0) > from ? 1 : 0);
    stop();
    if (to !== from) move(from, to);
  });
  list.addEventListener("dragend", stop);
}

/** Lets files and links be dropped on a zone, which says so while they are held over it. */
function makeDropZone(zone, rest, invite, { onFiles, onLink }) {
  let depth = 0;
  const over = (isOver) => {
    zone.classList.toggle("wiro-over", isOver);
    setShown(invite, isOver);
    setShown(rest, !isOver);
  };
  const holdsFiles = (event) => {
    const types = [...(event.dataTransfer?.types ?? [])];
    return !types.includes(ITEM) && types.some((type) => type === "Files" || type === "text/uri-list");
  };
  zone.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth += 1;
    over(true);
  });
  zone.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
  zone.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (depth === 0) over(false);
  });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    depth = 0;
    over(false);
    const files = [...event.dataTransfer.files];
    const source = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
    if (files.length) onFiles(files);
    else if (source) onLink(source);
  });
}

/** The box for a URL or a path; its content goes to the kernel when it loses focus, at the latest with a press of Run. */
function makeAddressBox(model, add, showError) {
  const id = freshId("url");
  const node = h("input", { id, class: "wiro-in", type: "text", dir: "ltr", placeholder: "https://", autocomplete: "off", spellcheck: "false" });
  let sent = "";
  let later = null;
  /** What was typed and not sent yet, once. */
  const take = () => {
    clearTimeout(later);
    const source = node.value.trim();
    const isNew = source !== sent;
    sent = source;
    return isNew ? source : "";
  };
  const send = () => {
    const source = take();
    if (source) add(source);
  };
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      sent = "";
      send();
    }
  });
  // Leaving the box by a press on a button: the new row must not move the button away under the pointer.
  node.addEventListener("change", () => {
    later = setTimeout(send, ADD_AFTER_MS);
  });
  node.addEventListener("input", () => {
    if (node.value.trim()) return;
    showError("");
    sent = "";
    model.send({ type: "clear" });
  });
  /** Empties the box when the kernel took what it holds; text typed since then stays. */
  const clear = (source) => {
    if (node.value.trim() !== source) return;
    node.value = "";
    sent = "";
  };
  return { node, id, take, clear };
}

/** @returns {{node: Node, focusNode: HTMLElement, show: () => void}} */
export function makeFileControl(context) {
  const { plan, model, id } = context;
  const multiple = Boolean(plan.multiple);
  const most = plan.most ?? Infinity;
  const items = h("ul", { class: "wiro-items" });
  const uploads = h("ul", { class: "wiro-items" });
  const moved = h("p", { class: "wiro-vh", role: "status" });
  const error = h("p", { class: "wiro-err", role: "alert", hidden: true });
  const showError = (...messages) => {
    const message = messages.join(" ");
    error.replaceChildren(...(message ? [icon("warning", true), h("span", {}, message)] : []));
    setShown(error, Boolean(message));
  };
  const take = async (files) => {
    const refused = [];
    const refuse = (reason) => {
      refused.push(reason);
      showError(...refused);
    };
    showError("");
    const room = multiple ? Math.max(0, most - model.get("value").length - uploads.children.length) : 1;
    if (files.length > room && multiple) refuse(`At most ${most} files are taken here.`);
    for (const file of files.slice(0, room)) {
      const reason = refusal(file, model.get("limit_bytes"), plan);
      if (reason) {
        refuse(reason);
        continue;
      }
      const abort = new AbortController();
      const row = progressNode(file.name, () => abort.abort());
      uploads.append(row.node);
      try {
        const facts = await fileFacts(file);
        await sendFile(model, file, facts, { onProgress: row.progress, onSilence: row.silence, signal: abort.signal });
      } catch (problem) {
        if (problem.message) refuse(problem.message);
      } finally {
        row.node.remove();
      }
    }
  };
  const picker = h("input", { type: "file", multiple, hidden: true, tabindex: "-1", "aria-hidden": "true", accept: plan.media ? `${plan.media}/*` : null, on: { change: () => {
    take([...picker.files]);
    picker.value = "";
  } } });
  const choose = button("Choose file", { icon: "upload", kind: "wiro-btn-s", onClick: () => picker.click() });
  choose.id = id;
  let asked = 0;
  const add = (source) => {
    asked += 1;
    model.send({ type: "add", source });
  };
  const address = makeAddressBox(model, add, showError);
  const runs = model.get("has_runs") ? makeRunPicker(model, plan, add) : null;
  const rest = h(
    "div",
    {},
    items,
    uploads,
    h("div", { class: "wiro-addrow" }, choose, runs?.open, h("span", { class: "wiro-hint" }, multiple ? "or drop files here" : "or drop a file here"),
      h("div", { class: "wiro-url" }, h("label", { for: address.id }, "or a URL or path"), address.node)),
    runs?.panel,
    picker,
    moved,
  );
  const invite = h("div", { class: "wiro-drop-over", hidden: true }, icon("upload"), h("span", {}, `Drop to use as ${plan.label.toLowerCase()}`));
  const zone = h("div", { class: "wiro-drop", role: "group", "aria-labelledby": context.labelId, "aria-describedby": context.describedBy }, rest, invite);
  makeDropZone(zone, rest, invite, { onFiles: take, onLink: add });
  model.on("msg:custom", (content) => {
    const isAdded = content?.type === "added";
    if (!isAdded && (content?.type !== "refused" || content.upload)) return;
    asked = Math.max(0, asked - 1);
    if (isAdded) address.clear(content.source);
    showError(""); // what was wrong with an address is a problem of the field, which the kernel says
  });
  const reorder = (value, focus) => {
    showError("");
    model.set("value", value);
    model.set("items", value.map((source) => model.get("items").find((item) => item.source === source)).filter(Boolean));
    model.save_changes();
    (focus?.() ?? choose).focus();
  };
  const move = (from, to, what) => {
    const value = [...model.get("value")];
    const [source] = value.splice(from, 1);
    value.splice(to, 0, source);
    reorder(value, () => items.children[to]?.querySelector(`[data-move="${what ?? "earlier"}"]`));
    setText(moved, `${model.get("items")[to]?.name ?? "The file"} is number ${to + 1} of ${value.length}`);
  };
  makeSortable(items, move);
  const change = (what, index) => {
    if (what !== "remove") return move(index, index + (what === "later" ? 1 : -1), what);
    return reorder(model.get("value").filter((_, position) => position !== index));
  };
  const show = () => {
    const shown = model.get("items") ?? [];
    const key = JSON.stringify(shown);
    if (items.shownKey === key) return;
    items.shownKey = key;
    items.replaceChildren(...shown.map((item, index) => itemNode(item, index, shown.length, change)));
    setText(choose.querySelector("span"), shown.length && !multiple ? "Choose another" : multiple && shown.length ? "Add a file" : "Choose file");
  };
  model.on("change:items", show);
  const isBusy = () => uploads.children.length > 0;
  return { node: h("div", {}, zone, error), focusNode: choose, show, invalidNode: zone, isBusy, isAhead: () => asked > 0, takeAddress: address.take };
}
