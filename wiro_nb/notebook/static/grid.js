/** A sweep: heads, one tile a run, and one bar that plays all finished clips in step. */
import { button, clockText, h, makeCopyButton, makeState, moneyNode, mount, setAttribute, setAttributes, setMoneyText, setProgress, setShown, setText, SMALL_ICON } from "./dom.js";
import { makeMedia, makeScrub, makeStar, watchMedia } from "./clips.js";
import { leaveStaticForm, saveOnlyStatic } from "./document.js";
import { makeAttachment } from "./results.js";

const TICK_MS = 500;
/** What a view leaves for the next one of the same grid, by its key: an output may be drawn anew at any time. */
const kept = new Map();

function makeTile(data, act, { model, player, signal }) {
  const { p } = data;
  const bare = (label, name, action) => button(label, { icon: name, kind: SMALL_ICON, onClick: () => act(action, p) });
  const tile = {
    data, at: 0, state: makeState(true), facts: h("span"),
    star: makeStar(() => act("star", p)), open: bare("Open", "open", "open"), cancel: bare("Cancel", "cross", "cancel"),
    percent: h("b"), step: h("small"), bar: h("div", { class: "wiro-bar" }, h("i")), text: h("span"),
    preview: h("img", { class: "wiro-tile-preview", alt: "", hidden: true }), label: h("div", { class: "wiro-tile-label" }),
  };
  const middle = h("div", { class: "wiro-mid" }, tile.percent, tile.step, tile.bar, tile.text);
  tile.media = makeMedia({ model, player, p, middle, text: tile.text, signal });
  tile.media.node.prepend(tile.preview);
  tile.media.node.addEventListener("click", () => act("open", p));
  tile.node = h("div", { class: "wiro-tile" }, tile.label, tile.media.node,
    h("div", { class: "wiro-tilecap" }, tile.state.node, h("span", { class: "wiro-tile-right" }, tile.facts, tile.star.node, tile.open, tile.cancel)));
  return tile;
}

function factsText({ data: { elapsed, ticking, cost } }, since) {
  const time = (elapsed ?? null) === null ? "" : clockText(elapsed + (ticking ? since : 0.5));
  return [time, cost].filter(Boolean).join(", ");
}

function drawTile(tile, data, isList) {
  tile.data = data;
  tile.at = performance.now();
  setAttributes(tile.node, { class: `wiro-tile${data.best ? " wiro-tile-best" : ""}`, "data-kind": data.kind });
  setShown(tile.label, isList);
  setText(tile.label, data.label);
  setAttribute(tile.label, "title", data.label);
  tile.state.draw(data, data.word);
  setAttribute(tile.state.node, "title", data.kind === "failed" ? `${data.word}. ${data.middle}` : data.word);
  setMoneyText(tile.facts, factsText(tile, 0));
  setShown(tile.star.node, data.kind === "done");
  tile.star.draw(data.label, Boolean(data.best), "is the best");
  setAttributes(tile.open, { "aria-label": `Open ${data.label}`, title: `Open run ${data.run}` });
  setShown(tile.cancel, data.cancel);
  setAttributes(tile.cancel, { "aria-label": `Cancel ${data.label}`, title: data.kind === "running" ? "Cancel run" : "Cancel run, free while it waits" });
  const isBusy = (data.percent ?? null) !== null;
  setShown(tile.percent, isBusy);
  setText(tile.percent, isBusy ? `${Math.round(data.percent)}%` : "");
  setProgress(tile.bar, data.percent, data.label);
  setText(tile.step, data.step);
  setShown(tile.step, data.step);
  setMoneyText(tile.text, data.middle);
  drawPreview(tile);
  if (data.kind === "done") tile.media.draw(data);
}

/** Shows the latest preview of a clip that is generated, behind the progress. */
function drawPreview(tile, image) {
  if (image?.startsWith("data:image/")) tile.preview.src = image;
  setShown(tile.preview, Boolean(tile.preview.src) && ["running", "lost"].includes(tile.data.kind));
}

function makeTable(plan, tiles) {
  const isList = !plan.rows.length;
  const root = h("div", { class: `wiro-sweep${isList ? " wiro-sweep-list" : ""}`, role: isList ? "list" : "table",
    "aria-label": isList ? plan.column_name : `${plan.row_name} by ${plan.column_name}` });
  for (const tile of tiles) setAttribute(tile.node, "role", isList ? "listitem" : "cell");
  if (isList) {
    root.append(...tiles.map((tile) => tile.node));
    return root;
  }
  root.style.setProperty("--wiro-columns", String(plan.columns.length));
  const heads = plan.columns.map((name, index) => h("div", { class: "wiro-ax", role: "columnheader" }, h("small", {}, index ? "" : plan.column_name), name));
  const rows = plan.rows.map((name, row) => h("div", { role: "row" }, h("div", { class: "wiro-ay", role: "rowheader" }, h("small", {}, plan.row_name), name),
    ...plan.cells[row].map((p) => (p === null ? h("div", { role: "cell" }) : tiles[p].node))));
  root.append(h("div", { role: "row" }, h("span", { class: "wiro-ax", role: "columnheader" }, h("span", { class: "wiro-vh" }, plan.row_name)), ...heads), ...rows);
  return root;
}

function makeHead(plan, act) {
  const parts = {
    state: makeState(), cancel: button("Cancel", { icon: "cross", kind: "wiro-btn-s", onClick: () => act("cancel_waiting") }),
    bar: h("div", { class: "wiro-bar" }, h("i")), percent: h("b"), counts: h("span"), left: h("span"), spent: h("span", { class: "wiro-push" }),
    live: h("span", { class: "wiro-vh", role: "status" }),
  };
  parts.node = h("div", { class: "wiro-sec" },
    h("div", { class: "wiro-run-h" }, parts.state.node,
      h("span", { class: "wiro-run-id" }, h("code", {}, plan.model), ` · ${plan.varied}`),
      h("span", { class: "wiro-row wiro-push" }, parts.cancel)),
    plan.prompt ? h("p", { class: "wiro-sweep-p", title: plan.prompt, dir: "auto" }, plan.prompt) : null,
    ...plan.notes.map((note) => moneyNode("div", note, { class: "wiro-small wiro-muted" })),
    h("div", { class: "wiro-prog" }, parts.bar, h("div", { class: "wiro-line" }, parts.percent, parts.counts, parts.left, parts.spent)),
    parts.live);
  return parts;
}

function drawHead(parts, head) {
  parts.state.draw(head, head.title);
  setShown(parts.cancel, head.waiting > 0);
  setText(parts.cancel.lastElementChild, `Cancel the ${head.waiting} waiting`);
  setProgress(parts.bar, head.percent, "Sweep progress", head.valuetext);
  setText(parts.percent, `${Math.round(head.percent)}%`);
  setText(parts.counts, head.counts);
  setText(parts.left, head.left);
  setMoneyText(parts.spent, head.spent);
  if (parts.announced !== undefined && parts.announced !== head.title) setText(parts.live, head.title);
  parts.announced = head.title;
}

function render({ model, el, signal }) {
  const plan = model.get("plan");
  const key = model.get("view_key");
  let before = kept.get(key)?.();
  const act = (action, p) => model.send({ action, p: p ?? null });
  const { node: scrub, player, setLoop, setClips, onKey } = makeScrub({ isNamed: true, playLabel: "Play all finished clips together", pauseLabel: "Pause all clips" }, signal);
  const tiles = model.get("items").map((data) => makeTile(data, act, { model, player, signal }));
  const head = makeHead(plan, act);
  const [best, place] = [h("span"), h("div")];
  const copy = makeCopyButton("Copy as cell", () => act("copy"), place);
  scrub.append(h("span", { class: "wiro-row wiro-push" }, best, copy.node));
  const foot = h("div", { class: "wiro-sec wiro-foot" }, scrub, place);
  const root = h("section", { class: "wiro-card wiro-grid-card", "aria-label": `Sweep, ${tiles.length} runs`, tabindex: "-1", on: { keydown: onKey } },
    head.node, h("div", { class: "wiro-sec" }, h("div", { class: "wiro-scroll" }, makeTable(plan, tiles))), foot);
  const drawTiles = (changed) => {
    for (const data of changed) if (tiles[data.p]) drawTile(tiles[data.p], data, !plan.rows.length);
    const all = tiles.map((tile) => tile.data);
    const clips = all.filter((data) => data.kind === "done" && data.type === "video");
    const shape = all.find((data) => data.width && data.height);
    if (shape) root.style.setProperty("--wiro-shape", `${shape.width} / ${shape.height}`);
    setClips(clips);
    setShown(foot, clips.length > 0);
    if (before && player.length) goOn();
  };
  const goOn = () => {
    setLoop(before.loop);
    player.seek(before.time);
    if (before.playing) player.play();
    tiles[before.star]?.star.node.focus({ preventScroll: true });
    before = null;
  };
  const drawAll = () => {
    const state = model.get("head");
    drawHead(head, state);
    setText(best, state.best ? `Best: ${state.best}` : "");
    setShown(copy.node, state.best);
  };
  model.on("change:head", drawAll);
  model.on("msg:custom", (content) => {
    if (content?.type === "items") drawTiles(content.items);
    if (content?.type === "preview" && tiles[content.p]) drawPreview(tiles[content.p], content.image);
    if (content?.type === "copy") copy.answer(content.text);
  });
  watchMedia(model, tiles.map((tile) => tile.media), signal);
  const timer = setInterval(() => {
    for (const tile of tiles) if (tile.data.ticking) setMoneyText(tile.facts, factsText(tile, (performance.now() - tile.at) / 1000));
  }, TICK_MS);
  leaveStaticForm(model, signal);
  mount(el, root, makeAttachment(model, signal));
  drawTiles(model.get("items"));
  drawAll();
  act("handshake");
  let focused = null; // the page forgets it when a view is taken out
  document.addEventListener("focusin", ({ target }) => { focused = target; }, { signal });
  kept.set(key, () => {
    const { time, playing, loop } = player;
    player.pause();
    return { time, playing, loop, star: tiles.findIndex((tile) => tile.star.node === focused) };
  });
  return () => clearInterval(timer);
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
