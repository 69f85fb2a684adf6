/** A sweep: heads, one tile a run, and one bar that plays all finished clips in step. */
import { button, clockText, copyText, h, makeState, moneyLine, setAttribute, setAttributes, setMoneyText, setProgress, setShown, setText } from "./dom.js";
import { makePosters, makeScrub, makeStar, makeVideo } from "./clips.js";
import { stopKeyPropagation } from "./key_propagation.js";
import { fileUrl } from "./file_url.js";
import { leaveStaticForm, saveOnlyStatic } from "./live_views.js";
import { makeAttachment } from "./results.js";
import { onPlayerKey } from "./player.js";

const TICK_MS = 500;
/** What a view leaves for the next one of the same grid: an output may be drawn anew at any time. */
const kept = new WeakMap();

function makeTile(act) {
  const tile = { data: {}, video: null, image: null, shown: false, loaded: false };
  tile.state = makeState(true);
  tile.facts = h("span", {});
  tile.star = makeStar(() => act("star", tile.data.p));
  tile.open = button("Open", { icon: "open", kind: "wiro-btn-s wiro-btn-icon wiro-btn-muted", onClick: () => act("open", tile.data.p) });
  tile.cancel = button("Cancel", {
    icon: "cross", kind: "wiro-btn-s wiro-btn-icon wiro-btn-muted", onClick: () => act("cancel", tile.data.p),
  });
  tile.percent = h("b", {});
  tile.step = h("small", {});
  tile.bar = h("div", { class: "wiro-bar" }, h("i", {}));
  tile.text = h("span", {});
  tile.middle = h("div", { class: "wiro-mid" }, tile.percent, tile.step, tile.bar, tile.text);
  tile.preview = h("img", { class: "wiro-tile-preview", alt: "", hidden: true });
  tile.picture = h("div", { class: "wiro-pic", on: { click: () => act("open", tile.data.p) } }, tile.preview, tile.middle);
  tile.label = h("div", { class: "wiro-tile-label" });
  tile.node = h("div", { class: "wiro-tile" }, tile.label, tile.picture,
    h("div", { class: "wiro-tilecap" }, tile.state.node, h("span", { class: "wiro-tile-right" }, tile.facts, tile.star.node, tile.open, tile.cancel)));
  return tile;
}

function factsText(tile, since) {
  const { elapsed, ticking, cost } = tile.data;
  const parts = [];
  if (elapsed !== null && elapsed !== undefined) parts.push(clockText(elapsed + (ticking ? since : 0.5)));
  if (cost) parts.push(cost);
  return parts.join(", ");
}

function drawTile(tile, data, isList) {
  tile.data = data;
  tile.at = performance.now();
  setAttribute(tile.node, "class", `wiro-tile${data.best ? " wiro-tile-best" : ""}`);
  setAttribute(tile.node, "data-kind", data.kind);
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
  const busy = data.percent !== null && data.percent !== undefined;
  setShown(tile.percent, busy);
  setText(tile.percent, busy ? `${Math.round(data.percent)}%` : "");
  setProgress(tile.bar, data.percent, data.label);
  setText(tile.step, data.step);
  setShown(tile.step, Boolean(data.step));
  setMoneyText(tile.text, data.middle);
  drawPreview(tile);
}

/** Shows the latest preview of a clip that is generated, behind the progress. */
function drawPreview(tile, image) {
  if (image?.startsWith("data:image/")) tile.preview.src = image;
  setShown(tile.preview, Boolean(tile.preview.src) && ["running", "lost"].includes(tile.data.kind));
}

/** Shows a picture that stands in for the clip, or is the output itself. */
function setImage(tile, source) {
  if (!tile.image) {
    tile.image = h("img", { alt: `${tile.data.label}, a frame of the clip`, loading: "lazy" });
    tile.picture.append(tile.image);
  }
  tile.image.src = source;
  setShown(tile.image, true);
  setShown(tile.middle, false);
}

/** Makes the media of a finished tile, once; the clip itself loads when the tile is seen. */
async function makeMedia(tile, model, context) {
  const { data } = tile;
  const key = `${data.kind}|${data.path}|${data.poster}`;
  if (data.kind !== "done" || tile.mediaKey === key) return;
  const isNew = tile.mediaKey === undefined;
  tile.mediaKey = key;
  if (!isNew) { // its file is gone, or there again
    unload(tile, context);
    tile.picture.replaceChildren(tile.preview, tile.middle);
    tile.video = tile.image = null;
    setShown(tile.middle, true);
  }
  if (!data.path && !data.poster) return;
  const [address, poster] = await Promise.all([fileUrl(model, data.path), fileUrl(model, data.poster)]);
  if (tile.mediaKey !== key || context.closed) return;
  const askForPoster = () => data.poster && model.send({ action: "poster", p: data.p });
  const showGone = () => {
    setText(tile.text, `File gone. Get it again at no cost: %wiro download ${data.run}`);
    setShown(tile.middle, true);
    setShown(tile.image ?? {}, false);
    askForPoster();
  };
  if (data.type === "video" && address) {
    const video = makeVideo({ poster: poster || null, preload: "none", "aria-label": `Clip: ${data.label}` });
    video.addEventListener("error", () => {
      if (!tile.loaded) return;
      context.player.remove(video);
      showGone();
      setShown(video, false);
    });
    tile.video = video;
    tile.address = address;
    tile.picture.append(video);
    setShown(tile.middle, false);
    if (tile.shown) load(tile, context);
  } else if (data.type === "image" && address) {
    setImage(tile, address);
    tile.image.addEventListener("error", showGone, { once: true });
  } else if (poster) {
    setImage(tile, poster);
    tile.image.addEventListener("error", showGone, { once: true });
  } else askForPoster();
}

function load(tile, context) {
  if (!tile.video || tile.loaded) return;
  tile.loaded = true;
  tile.video.preload = "auto";
  tile.video.src = tile.address;
  context.player.add(tile.video, tile.data.duration || tile.video.duration || 0);
}

function unload(tile, context) {
  if (!tile.video || !tile.loaded) return;
  tile.loaded = false;
  context.player.remove(tile.video);
  tile.video.removeAttribute("src");
  tile.video.preload = "none";
  tile.video.load();
}

function makeTable(plan, tiles) {
  const list = !plan.rows.length;
  const root = h("div", { class: `wiro-sweep${list ? " wiro-sweep-list" : ""}`, role: list ? "list" : "table",
    "aria-label": list ? plan.column_name : `${plan.row_name} by ${plan.column_name}` });
  if (list) {
    for (const tile of tiles) {
      setAttribute(tile.node, "role", "listitem");
      root.append(tile.node);
    }
    return root;
  }
  root.style.setProperty("--wiro-columns", String(plan.columns.length));
  root.append(h("div", { role: "row" }, h("span", { class: "wiro-ax", role: "columnheader" }, h("span", { class: "wiro-vh" }, plan.row_name)),
    ...plan.columns.map((name, index) => h("div", { class: "wiro-ax", role: "columnheader" },
      h("small", {}, index ? "" : plan.column_name), name))));
  plan.rows.forEach((name, row) => {
    const cells = plan.cells[row].map((position) => {
      if (position === null) return h("div", { role: "cell" });
      setAttribute(tiles[position].node, "role", "cell");
      return tiles[position].node;
    });
    root.append(h("div", { role: "row" }, h("div", { class: "wiro-ay", role: "rowheader" }, h("small", {}, plan.row_name), name), ...cells));
  });
  return root;
}

function makeHead(plan, act) {
  const parts = { state: makeState() };
  parts.cancel = button("Cancel", { icon: "cross", kind: "wiro-btn-s", onClick: () => act("cancel_waiting") });
  parts.bar = h("div", { class: "wiro-bar" }, h("i", {}));
  parts.percent = h("b", {});
  parts.counts = h("span", {});
  parts.left = h("span", {});
  parts.spent = h("span", { class: "wiro-push" });
  parts.live = h("span", { class: "wiro-vh", role: "status" });
  parts.node = h("div", { class: "wiro-sec" },
    h("div", { class: "wiro-run-h" }, parts.state.node,
      h("span", { class: "wiro-run-id" }, h("code", {}, plan.model), ` · ${plan.varied}`),
      h("span", { class: "wiro-row wiro-push" }, parts.cancel)),
    plan.prompt ? h("p", { class: "wiro-sweep-p", title: plan.prompt, dir: "auto" }, plan.prompt) : null,
    ...plan.notes.map((note) => moneyLine(note, { class: "wiro-small wiro-muted" })),
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

function render({ model, el }) {
  const plan = model.get("plan");
  const before = kept.get(model)?.() ?? {};
  const act = (action, p) => model.send({ action, p: p ?? null });
  const tiles = model.get("tiles").map(() => makeTile(act));
  const head = makeHead(plan, act);
  const { node: scrub, context } = makeScrub({ length: 0, fps: 16, isNamed: true, loop: before.loop,
    playLabel: "Play all finished clips together", pauseLabel: "Pause all clips" });
  const foot = { best: h("span", {}), copy: button("Copy as cell", { icon: "copy", kind: "wiro-btn-s", onClick: () => act("copy") }), place: h("div", {}) };
  scrub.append(h("span", { class: "wiro-row wiro-push" }, foot.best, foot.copy));
  foot.node = h("div", { class: "wiro-sec wiro-foot" }, scrub, foot.place);
  const root = h("section", { class: "wiro-card wiro-grid-card", "aria-label": `Sweep, ${tiles.length} runs`, tabindex: "-1",
    on: { keydown: (event) => onPlayerKey(event, context) } },
    head.node, h("div", { class: "wiro-sec" }, h("div", { class: "wiro-scroll" }, makeTable(plan, tiles))), foot.node);
  stopKeyPropagation(root);

  const isList = !plan.rows.length;
  const drawTiles = (changed) => {
    for (const data of changed) {
      const tile = tiles[data.p];
      if (!tile) continue;
      drawTile(tile, data, isList);
      makeMedia(tile, model, context);
    }
    const clips = tiles.map((tile) => tile.data).filter((data) => data.kind === "done" && data.type === "video");
    const shape = tiles.map((tile) => tile.data).find((data) => data.width && data.height);
    if (shape) root.style.setProperty("--wiro-shape", `${shape.width} / ${shape.height}`);
    context.setLength(Math.max(0, ...clips.map((data) => data.duration)), Math.max(1, ...clips.map((data) => data.fps)));
    setShown(foot.node, clips.length > 0);
  };
  const drawAll = () => {
    const state = model.get("head");
    drawHead(head, state);
    setText(foot.best, state.best ? `Best: ${state.best}` : "");
    setShown(foot.copy, Boolean(state.best));
  };
  const onMessage = async (content, buffers) => {
    if (content?.type === "tiles") drawTiles(content.tiles);
    if (content?.type === "preview" && tiles[content.p]) drawPreview(tiles[content.p], content.image);
    if (content?.type === "copy") {
      const copied = await copyText(String(content.text ?? ""), foot.place);
      setText(foot.copy.lastElementChild, copied ? "Copied" : "Press Ctrl+C");
      setTimeout(() => setText(foot.copy.lastElementChild, "Copy as cell"), 2000);
    }
    posters.onMessage(content, buffers);
  };
  const posters = makePosters((position, url) => tiles[position] && setImage(tiles[position], url));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const tile = tiles.find((item) => item.node === entry.target);
      tile.shown = entry.isIntersecting;
      if (tile.shown) load(tile, context);
      else unload(tile, context);
    }
  }, { rootMargin: "120px" });
  for (const tile of tiles) watcher.observe(tile.node);
  const timer = setInterval(() => {
    for (const tile of tiles) if (tile.data.ticking) setMoneyText(tile.facts, factsText(tile, (performance.now() - tile.at) / 1000));
  }, TICK_MS);
  model.on("change:head", drawAll);
  model.on("msg:custom", onMessage);
  kept.set(model, () => {
    const star = tiles.findIndex((tile) => tile.star.node === document.activeElement);
    const { time, playing, loop } = context.player;
    return { time, playing, loop, star: star < 0 ? undefined : star };
  });
  const below = makeAttachment(model);
  const stopWatching = leaveStaticForm(model);
  el.classList.add("wiro");
  el.replaceChildren(root, below.node);
  drawTiles(model.get("tiles"));
  drawAll();
  act("handshake");
  if (before.time) context.player.seek(before.time);
  if (before.playing) context.player.play();
  if (before.star !== undefined) tiles[before.star]?.star.node.focus({ preventScroll: true });
  return () => {
    context.closed = true;
    clearInterval(timer);
    watcher.disconnect();
    stopWatching();
    below.close();
    context.player.close();
    for (const tile of tiles) unload(tile, context);
    posters.close();
  };
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
