/**
 * The file control: drop, dialog, URL or path, an earlier run; pictures, order, removal.
 */
import { h, icon, button, clockText, drawList, freshId, setAttribute, setProgress, setShown, setText, sizeText } from "./dom.js";
import { fileFacts, sendFile } from "./upload.js";

const ADD_AFTER_MS = 300;
const ITEM = "application/x-wiro-item";

function iconOf(item) {
  const type = item.type ?? "";
  if (type.startsWith("audio/") || /\.(mp3|wav|m4a)($|\?)/i.test(item.source)) return "sound";
  return type.startsWith("video/") || /\.(mp4|webm|mov)($|\?)/i.test(item.source) ? "film" : "file";
}

function thumbNode(item) {
  const address = item.thumb ?? (item.url && /\.(png|jpe?g|webp|gif)($|\?)/i.test(item.source) ? item.source : null);
  const figure = h("figure", { class: "wiro-thumb" });
  const showIcon = () => figure.replaceChildren(icon(iconOf(item)));
  if (address) figure.append(h("img", { src: address, alt: item.name, referrerpolicy: "no-referrer", loading: "lazy", draggable: "false", on: { error: showIcon } }));
  else showIcon();
  return figure;
}

function factsText(item) {
  const shape = item.width && item.height ? `${item.width} × ${item.height}` : "";
  return [shape, item.duration_s && clockText(item.duration_s), item.size && sizeText(item.size), item.url && "URL"].filter(Boolean).join(", ");
}

/** One file already taken: picture, name, facts, order and removal. */
function itemNode(item, index, count, change) {
  const mover = (what, name, stop) => {
    const node = button(`Move ${item.name} ${what}`, { icon: name, kind: "wiro-btn-s wiro-btn-icon", onClick: () => stop || change(what, index) });
    node.dataset.move = what;
    setAttribute(node, "aria-disabled", stop && "true");
    return node;
  };
  const several = count > 1;
  return h("li", { draggable: several && "true", title: several && "Drag to change the order" }, thumbNode(item), h("div", {},
    h("div", { class: item.problem && "wiro-err", title: item.problem }, item.problem && icon("warning", true),
      h("span", { dir: "auto" }, several && `${index + 1}. `, item.name), " ", h("span", { class: "wiro-muted wiro-num" }, factsText(item))),
    h("div", { class: "wiro-row" }, ...(several ? [mover("earlier", "up", index === 0), mover("later", "down", index === count - 1)] : []),
      button("Remove", { icon: "cross", kind: "wiro-btn-s wiro-btn-muted", title: `Remove ${item.name}`, onClick: () => change("remove", index) }))));
}

/** One file on its way. */
function progressNode(name, cancel) {
  const text = h("span", { class: "wiro-muted wiro-num" });
  const bar = h("div", { class: "wiro-bar" }, h("i"));
  const node = h("li", {}, h("figure", { class: "wiro-thumb" }, icon("upload")), h("div", {},
    h("div", { class: "wiro-row" }, h("span", { dir: "auto" }, name), text, button("Cancel", { kind: "wiro-btn-s wiro-btn-muted", onClick: cancel })), bar));
  let [share, isSilent] = [0, false];
  const draw = (changed = {}) => {
    ({ share, isSilent } = { share, isSilent, ...changed });
    const percent = Math.round(share * 100);
    setProgress(bar, percent, `Sending ${name}`);
    setText(text, isSilent ? `${percent}%, waiting for the kernel` : `${percent}%`);
  };
  draw();
  return { node, draw };
}

/** Lets the items of a list be dragged to another place in it. */
function makeSortable(list, move) {
  let dragged = -1;
  const unmark = () => [...list.children].forEach((node) => node.classList.remove("wiro-before", "wiro-after"));
  const stop = () => {
    unmark();
    dragged = -1;
  };
  /** Calls `act` with the item under the pointer, and whether the dragged one belongs behind it. */
  const overItem = (act) => (event) => {
    const node = event.target.closest?.("li");
    if (dragged < 0 || !node) return;
    event.preventDefault();
    event.stopPropagation();
    unmark();
    const box = node.getBoundingClientRect();
    act(node, event.clientY > box.top + box.height / 2);
  };
  list.addEventListener("dragstart", (event) => {
    dragged = [...list.children].indexOf(event.target.closest("li"));
    event.dataTransfer.setData(ITEM, String(dragged));
    event.dataTransfer.effectAllowed = "move";
    event.stopPropagation();
  });
  list.addEventListener("dragover", overItem((node, isAfter) => node.classList.add(isAfter ? "wiro-after" : "wiro-before")));
  list.addEventListener("drop", overItem((node, isAfter) => {
    const from = dragged;
    const gap = [...list.children].indexOf(node) + Number(isAfter);
    const to = gap - Number(gap > from);
    stop();
    if (to !== from) move(from, to);
  }));
  list.addEventListener("dragend", stop);
}

/** Lets files and links be dropped on a zone, which says so while they are held over it. */
function makeDropZone(zone, rest, invite, { onFiles, onLink }) {
  const over = (isOver) => {
    zone.classList.toggle("wiro-over", isOver);
    setShown(invite, isOver);
    setShown(rest, !isOver);
  };
  const onDrag = (event) => {
    const types = [...(event.dataTransfer?.types ?? [])];
    if (types.includes(ITEM) || !types.some((type) => type === "Files" || type === "text/uri-list")) return;
    event.preventDefault();
    event.stopPropagation();
    over(true);
  };
  zone.addEventListener("dragenter", onDrag);
  zone.addEventListener("dragover", onDrag);
  zone.addEventListener("dragleave", (event) => zone.contains(event.relatedTarget) || over(false));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(false);
    const files = [...event.dataTransfer.files];
    const source = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
    if (files.length) onFiles(files);
    else if (source) onLink(source);
  });
}

/**
 * The box for a URL or a path; its content goes to the kernel when it loses focus, at the latest with a press of Run.
 * Paths on the kernel's machine are listed while one types, and Tab completes what they have in common.
 */
function makeAddressBox(model, add, showError) {
  const [id, listId] = ["url", "paths"].map(freshId);
  const node = h("input", { id, list: listId, class: "wiro-in", type: "text", dir: "ltr", placeholder: "a file in the notebook's folder, or https://", autocomplete: "off", spellcheck: "false" });
  const list = h("datalist", { id: listId });
  let [sent, later, common] = ["", null, ""];
  /** What was typed and not sent yet, once. */
  const take = () => {
    clearTimeout(later);
    const before = sent;
    sent = node.value.trim();
    return sent === before ? "" : sent;
  };
  const send = () => {
    const source = take();
    if (source) add(source);
  };
  const askPaths = () => node.value && !node.value.includes("://") && model.send({ type: "paths", typed: node.value });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && !event.shiftKey && node.value && common.startsWith(node.value) && common !== node.value) {
      event.preventDefault();
      node.value = common;
      askPaths();
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
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
    if (node.value.trim()) return askPaths();
    showError("");
    sent = "";
    return model.send({ type: "clear" });
  });
  /** Lists the paths that begin as the box does, and keeps what they have in common. */
  const offer = (content) => {
    common = content.common;
    list.replaceChildren(...content.paths.map((value) => h("option", { value })));
  };
  /** Empties the box when the kernel took what it holds; text typed since then stays. */
  const clear = (source) => {
    if (node.value.trim() === source) node.value = sent = "";
  };
  return { id, take, clear, offer, box: node, node: h("div", { class: "wiro-url" }, h("label", { for: id, class: "wiro-hint" }, "or a URL or path"), node, list) };
}

/** What can be taken of a run for an input: [label, text for the kernel]. */
function takes(run, media) {
  const source = `run:${run.id}`;
  if (run.kind !== "video") return [["Use", source]];
  const frames = [["First frame", `${source}#0`], ["Last frame", `${source}#-1`]];
  if (media === "image") return frames;
  return media === "video" ? [["Clip", source]] : [["Clip", source], ...frames];
}

function runNode(run, media, take) {
  const picture = run.thumb
    ? h("img", { src: run.thumb, alt: "", draggable: "false" })
    : icon(run.kind === "audio" ? "sound" : run.kind === "video" ? "film" : "file");
  return h("li", {},
    h("figure", { class: "wiro-thumb" }, picture),
    h("div", {},
      h("div", { class: "wiro-pick-t", dir: "auto" }, run.prompt || run.model),
      h("div", { class: "wiro-muted wiro-small" }, h("code", {}, run.id), ` · ${run.when}`),
      h("div", { class: "wiro-row" }, ...takes(run, media).map(([label, source]) =>
        button(label, { kind: "wiro-btn-s", title: `${label} of run ${run.id}`, onClick: () => take(source) })))));
}

/** Takes an input from an earlier run: its clip or picture, or one frame of a clip. @returns {{open: HTMLElement, panel: HTMLElement}} a button and the panel it opens */
function makeRunPicker(model, plan, add) {
  const show = (isOpen) => {
    setShown(panel, isOpen);
    setAttribute(open, "aria-expanded", String(isOpen));
  };
  const say = (text) => panel.replaceChildren(h("p", { class: "wiro-hint", role: "status" }, text));
  const close = () => {
    show(false);
    open.focus();
  };
  const panel = h("div", { class: "wiro-pick", role: "group", "aria-label": `Earlier runs for ${plan.label}`, hidden: true, on: { keydown: (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  } } });
  const open = button("From a run", { icon: "film", kind: "wiro-btn-s", onClick: () => {
    if (!panel.hidden) return close();
    say("Reading the runs of this notebook");
    show(true);
    return model.send({ type: "recent" });
  } });
  const take = (source) => {
    add(source);
    close();
  };
  show(false);
  model.on("msg:custom", (content) => {
    if (content?.type !== "recent" || panel.hidden) return;
    if (!content.runs?.length) return say("No finished run of this notebook has a file that fits here. A run of another notebook: type run:ID in the box.");
    panel.replaceChildren(h("ul", { class: "wiro-items wiro-pick-list" }, ...content.runs.map((run) => runNode(run, plan.media, take))));
    panel.querySelector("button").focus();
  });
  return { open, panel };
}

/** @returns {{node: Node, focusNode: HTMLElement, show: () => void}} */
export function makeFileControl({ plan, model, id, labelId, describedBy }) {
  const isMultiple = Boolean(plan.multiple);
  const most = plan.most ?? Infinity;
  const items = h("ul", { class: "wiro-items" });
  const uploads = h("ul", { class: "wiro-items" });
  const moved = h("p", { class: "wiro-vh", role: "status" });
  const error = h("p", { class: "wiro-err", role: "alert", hidden: true });
  const showError = (message) => {
    error.replaceChildren(icon("warning", true), h("span", {}, message));
    setShown(error, message);
  };
  const upload = async (file) => {
    const abort = new AbortController();
    const row = progressNode(file.name, () => abort.abort());
    uploads.append(row.node);
    const progress = { onProgress: (share) => row.draw({ share }), onSilence: (isSilent) => row.draw({ isSilent }), signal: abort.signal };
    return sendFile(model, file, await fileFacts(file), progress).then(() => "", (problem) => problem.message).finally(() => row.node.remove());
  };
  const take = async (files) => {
    const room = isMultiple ? Math.max(0, most - model.get("value").length - uploads.children.length) : 1;
    const refused = files.length > room && isMultiple ? [`At most ${most} files are taken here.`] : [];
    showError(refused.join(" "));
    for (const file of files.slice(0, room)) {
      const reason = await upload(file);
      if (reason) refused.push(reason);
      showError(refused.join(" "));
    }
  };
  const picker = h("input", { type: "file", multiple: isMultiple, hidden: true, tabindex: "-1", "aria-hidden": "true", accept: plan.media && `${plan.media}/*`, on: { change: () => {
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
  const rest = h("div", {}, items, uploads,
    h("div", { class: "wiro-addrow" }, choose, runs?.open, h("span", { class: "wiro-hint" }, isMultiple ? "or drop files here" : "or drop a file here"), address.node),
    runs?.panel, picker, moved);
  const invite = h("div", { class: "wiro-drop-over", hidden: true }, icon("upload"), h("span", {}, `Drop to use as ${plan.label.toLowerCase()}`));
  const zone = h("div", { class: "wiro-drop", role: "group", "aria-labelledby": labelId, "aria-describedby": describedBy }, rest, invite);
  makeDropZone(zone, rest, invite, { onFiles: take, onLink: add });
  model.on("msg:custom", (content) => {
    if (content?.type === "paths") return address.offer(content);
    if (content?.type !== "added" && (content?.type !== "refused" || content.upload)) return null;
    asked = Math.max(0, asked - 1);
    if (content.type === "added") address.clear(content.source);
    return showError(""); // what was wrong with an address is a problem of the field, which the kernel says
  });
  const reorder = (value, focus) => {
    showError("");
    model.set("value", value);
    model.set("items", value.map((source) => model.get("items").find((item) => item.source === source)).filter(Boolean));
    model.save_changes();
    (focus?.() ?? choose).focus();
  };
  const move = (from, to, what = "earlier") => {
    const value = [...model.get("value")];
    value.splice(to, 0, ...value.splice(from, 1));
    reorder(value, () => items.children[to]?.querySelector(`[data-move="${what}"]`));
    setText(moved, `${model.get("items")[to]?.name ?? "The file"} is number ${to + 1} of ${value.length}`);
  };
  makeSortable(items, move);
  const change = (what, index) => {
    if (what === "remove") reorder(model.get("value").filter((_source, position) => position !== index));
    else move(index, index + (what === "later" ? 1 : -1), what);
  };
  const show = () => {
    const shown = model.get("items") ?? [];
    drawList(items, shown, (item, index) => itemNode(item, index, shown.length, change));
    setText(choose.querySelector("span"), shown.length === 0 ? "Choose file" : isMultiple ? "Add a file" : "Choose another");
  };
  return { node: h("div", {}, zone, error), get focusNode() { return address.box.value ? address.box : choose; }, show, invalidNode: zone, isBusy: () => uploads.children.length > 0, isAhead: () => asked > 0, takeAddress: address.take, refusal: error };
}
