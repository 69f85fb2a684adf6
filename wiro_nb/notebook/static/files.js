/**
 * The file control: drop, dialog, URL or path; pictures, order, removal.
 * A file goes to the kernel in pieces; never more than two are on their way, so that a default
 * server and a busy kernel keep up.
 */
import { h, icon, button, setShown, setAttribute, sizeText, freshId } from "./dom.js";

const IN_FLIGHT = 2;
const THUMB_WIDTH = 176;
const SILENCE_MS = 4000;
const ADD_AFTER_MS = 300;

/** A small JPEG and the size in pixels of a picture, as far as the browser can read it. */
async function pictureFacts(file) {
  if (!file.type.startsWith("image/")) return {};
  try {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    const canvas = document.createElement("canvas");
    canvas.width = Math.min(THUMB_WIDTH, width);
    canvas.height = Math.max(1, Math.round((canvas.width * height) / width));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return { width, height, thumb: canvas.toDataURL("image/jpeg", 0.7) };
  } catch {
    return {};
  }
}

/** Sends one file; resolves when the kernel has it, rejects with the reason in words. */
function sendFile(model, file, facts, { onProgress, onSilence, signal }) {
  const upload = freshId("upload");
  const size = model.get("chunk_bytes");
  return new Promise((resolve, reject) => {
    let sent = 0;
    let seq = 0;
    let acknowledged = 0;
    let silence = null;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => onSilence(true), SILENCE_MS);
    };
    const finish = (settle, value) => {
      clearTimeout(silence);
      model.off("msg:custom", onMessage);
      settle(value);
    };
    const pump = async () => {
      while (sent < file.size && sent - acknowledged < IN_FLIGHT * size) {
        const piece = file.slice(sent, sent + size);
        const number = seq;
        sent += piece.size;
        seq += 1;
        const bytes = await piece.arrayBuffer();
        if (signal.aborted) return;
        model.send({ type: "chunk", upload, seq: number }, undefined, [bytes]);
      }
    };
    // Pieces are read one after another, so that they leave in order.
    let queue = Promise.resolve();
    const onMessage = (content) => {
      if (content?.upload !== upload) return;
      onSilence(false);
      listen();
      if (content.type === "ack") {
        acknowledged = content.received;
        onProgress(acknowledged / file.size);
        queue = queue.then(pump).catch((error) => finish(reject, error));
      } else if (content.type === "done") finish(resolve, undefined);
      else if (content.type === "refused") finish(reject, new Error(content.message));
    };
    signal.addEventListener("abort", () => {
      model.send({ type: "abort", upload });
      finish(reject, new Error(""));
    });
    model.on("msg:custom", onMessage);
    listen();
    model.send({ type: "begin", upload, name: file.name, size: file.size, ...facts });
  });
}

/** Why a file cannot be taken, or "". */
function refusal(file, limit) {
  if (file.size === 0) return `${file.name} is empty.`;
  if (file.size > limit) return `${file.name} has ${sizeText(file.size)}; at most ${Math.floor(limit / 1048576)} MB are taken.`;
  return "";
}

function thumbNode(item) {
  const address = item.thumb ?? (item.url && /\.(png|jpe?g|webp|gif)($|\?)/i.test(item.source) ? item.source : null);
  if (!address) return h("figure", { class: "wiro-thumb" }, icon("file"));
  const picture = h("img", { src: address, alt: item.name, referrerpolicy: "no-referrer", loading: "lazy" });
  const figure = h("figure", { class: "wiro-thumb" }, picture);
  picture.addEventListener("error", () => figure.replaceChildren(icon("file")));
  return figure;
}

function factsText(item) {
  const parts = [];
  if (item.width && item.height) parts.push(`${item.width} × ${item.height}`);
  if (item.size) parts.push(sizeText(item.size));
  if (item.url) parts.push("URL");
  return parts.join(", ");
}

/** One file already taken: picture, name, facts, order and removal. */
function itemNode(item, index, count, change) {
  const small = "wiro-btn-s wiro-btn-quiet";
  const acts = h("div", { class: "wiro-row" });
  if (count > 1) {
    const earlier = button(`Move ${item.name} earlier`, { icon: "left", kind: "wiro-btn-s wiro-btn-icon", onClick: () => change("earlier", index) });
    setAttribute(earlier, "aria-disabled", index === 0 ? "true" : null);
    acts.append(earlier);
  }
  acts.append(button("Remove", { icon: "cross", kind: small, title: `Remove ${item.name}`, onClick: () => change("remove", index) }));
  return h(
    "li",
    {},
    thumbNode(item),
    h(
      "div",
      {},
      h("div", {}, h("span", { dir: "auto" }, count > 1 ? `${index + 1}. ` : "", item.name), " ", h("span", { class: "wiro-muted wiro-num" }, factsText(item))),
      item.problem ? h("p", { class: "wiro-err" }, icon("warning", true), h("span", {}, item.problem)) : null,
      acts,
    ),
  );
}

/** One file on its way. */
function progressNode(name, cancel) {
  const fill = h("i", { style: "width:0%" });
  const text = h("span", { class: "wiro-muted wiro-num" }, "0%");
  const bar = h("div", { class: "wiro-bar", role: "progressbar", "aria-label": `Sending ${name}`, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" }, fill);
  const node = h("li", {}, h("figure", { class: "wiro-thumb" }, icon("upload")), h("div", {},
    h("div", { class: "wiro-row" }, h("span", { dir: "auto" }, name), text, button("Cancel", { kind: "wiro-btn-s wiro-btn-quiet", onClick: cancel })), bar));
  let share = 0;
  let silent = false;
  const paint = () => {
    const percent = Math.round(share * 100);
    fill.style.width = `${percent}%`;
    setAttribute(bar, "aria-valuenow", percent);
    text.textContent = silent ? `${percent}%, waiting for the kernel` : `${percent}%`;
  };
  return { node, progress: (value) => { share = value; paint(); }, silence: (value) => { silent = value; paint(); } };
}

/** @returns {{node: Node, focusNode: HTMLElement, show: () => void}} */
export function makeFileControl(context) {
  const { plan, model, id } = context;
  const multiple = Boolean(plan.multiple);
  const items = h("ul", { class: "wiro-items" });
  const uploads = h("ul", { class: "wiro-items" });
  const error = h("p", { class: "wiro-err", role: "alert", hidden: true });
  const say = (message) => {
    error.replaceChildren(...(message ? [icon("warning", true), h("span", {}, message)] : []));
    setShown(error, Boolean(message));
  };
  const take = async (files) => {
    say("");
    const chosen = multiple ? files : files.slice(0, 1);
    for (const file of chosen) {
      const reason = refusal(file, model.get("limit_bytes"));
      if (reason) {
        say(reason);
        continue;
      }
      const abort = new AbortController();
      const row = progressNode(file.name, () => abort.abort());
      uploads.append(row.node);
      try {
        const facts = await pictureFacts(file);
        await sendFile(model, file, facts, { onProgress: row.progress, onSilence: row.silence, signal: abort.signal });
      } catch (problem) {
        if (problem.message) say(problem.message);
      } finally {
        row.node.remove();
      }
    }
  };
  const picker = h("input", { type: "file", multiple, hidden: true, tabindex: "-1", "aria-hidden": "true", on: { change: () => {
    take([...picker.files]);
    picker.value = "";
  } } });
  const choose = button("Choose file", { icon: "upload", kind: "wiro-btn-s", onClick: () => picker.click() });
  choose.id = id;
  const urlId = freshId("url");
  const url = h("input", { id: urlId, class: "wiro-in", type: "text", dir: "ltr", placeholder: "https://", autocomplete: "off", spellcheck: "false" });
  let told = "";
  let later = null;
  const addUrl = () => {
    clearTimeout(later);
    const source = url.value.trim();
    if (source === told) return;
    told = source;
    model.send(source ? { type: "add", source } : { type: "clear" });
  };
  url.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") {
      event.preventDefault();
      told = "";
      addUrl();
    }
  });
  // Leaving the box by a press on a button: the new row must not move the button away under the pointer.
  url.addEventListener("change", () => {
    later = setTimeout(addUrl, ADD_AFTER_MS);
  });
  url.addEventListener("input", () => {
    if (url.value.trim()) return;
    say("");
    addUrl();
  });
  const rest = h(
    "div",
    {},
    items,
    uploads,
    h("div", { class: "wiro-addrow" }, choose, h("span", { class: "wiro-hint" }, multiple ? "or drop files here" : "or drop a file here"),
      h("div", { class: "wiro-url" }, h("label", { for: urlId }, "or a URL or path"), url)),
    picker,
  );
  const invite = h("div", { class: "wiro-drop-over", hidden: true }, icon("upload"), h("span", {}, `Drop to use as ${plan.label.toLowerCase()}`));
  const zone = h("div", { class: "wiro-drop", role: "group", "aria-labelledby": context.labelId, "aria-describedby": context.describedBy }, rest, invite);
  let depth = 0;
  const over = (isOver) => {
    zone.classList.toggle("wiro-over", isOver);
    setShown(invite, isOver);
    setShown(rest, !isOver);
  };
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "text/uri-list");
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
    if (files.length) take(files);
    else if (source) model.send({ type: "add", source });
  });
  model.on("msg:custom", (content) => {
    if (content?.type === "added") {
      url.value = "";
      told = "";
      say("");
    }
    if (content?.type === "refused" && !content.upload) say(content.message);
  });
  const change = (what, index) => {
    const value = [...model.get("value")];
    const [moved] = value.splice(index, 1);
    if (what === "earlier" && index > 0) value.splice(index - 1, 0, moved);
    else if (what === "earlier") return;
    model.set("value", value);
    model.set("items", value.map((source) => model.get("items").find((item) => item.source === source)).filter(Boolean));
    model.save_changes();
    choose.focus();
  };
  const show = () => {
    const shown = model.get("items") ?? [];
    const key = JSON.stringify(shown);
    if (items.dataset.key === String(key.length) && items.shownKey === key) return;
    items.dataset.key = String(key.length);
    items.shownKey = key;
    items.replaceChildren(...shown.map((item, index) => itemNode(item, index, shown.length, change)));
    choose.querySelector("span").textContent = shown.length && !multiple ? "Choose another" : multiple && shown.length ? "Add a file" : "Choose file";
  };
  model.on("change:items", show);
  const isBusy = () => uploads.children.length > 0;
  return { node: h("div", {}, zone, error), focusNode: choose, show, invalidNode: zone, isBusy, flush: addUrl };
}
