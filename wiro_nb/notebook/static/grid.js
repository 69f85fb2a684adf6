/** A sweep: heads, one tile a run, and one bar that plays all finished clips in step. */
import { button, clockText, copyText, freshId, h, icon, setAttribute, setMoneyText, setShown, setText } from "./dom.js";
import { stopKeyPropagation } from "./key_propagation.js";
import { fileUrl } from "./file_url.js";
import { leaveStaticForm, saveOnlyStatic } from "./live_views.js";
import { makeAttachment } from "./results.js";
import { makePlayer, momentText, onPlayerKey } from "./player.js";

const TICK_MS = 500;
/** What a view leaves for the next one of the same grid: an output may be drawn anew at any time. */
const kept = new WeakMap();

function makeTile(act) {
  const tile = { data: {}, video: null, image: null, shown: false, loaded: false };
  tile.icon = h("span", { class: "wiro-state-i" });
  tile.word = h("span", {});
  tile.state = h("span", { class: "wiro-state" }, tile.icon, tile.word);
  tile.facts = h("span", {});
  tile.star = button("Pick as best", {
    icon: "star", kind: "wiro-btn-s wiro-btn-icon wiro-btn-muted wiro-star", onClick: () => act("star", tile.data.p),
  });
  tile.open = button("Open", { icon: "open", kind: "wiro-btn-s wiro-btn-icon wiro-btn-muted", onClick: () => act("open", tile.data.p) });
  tile.cancel = button("Cancel", {
    icon: "cross", kind: "wiro-btn-s wiro-btn-icon wiro-btn-muted", onClick: () => act("cancel", tile.data.p),
  });
  tile.percent = h("b", {});
  tile.step = h("small", {});
  tile.fill = h("i", {});
  tile.bar = h("div", { class: "wiro-bar" }, tile.fill);
  tile.text = h("span", {});
  tile.middle = h("div", { class: "wiro-mid" }, tile.percent, tile.step, tile.bar, tile.text);
  tile.picture = h("div", { class: "wiro-pic", on: { click: () => act("open", tile.data.p) } }, tile.middle);
  tile.label = h("div", { class: "wiro-tile-label" });
  tile.node = h("div", { class: "wiro-tile" }, tile.label, tile.picture,
    h("div", { class: "wiro-tilecap" }, tile.state, h("span", { class: "wiro-tile-right" }, tile.facts, tile.star, tile.open, tile.cancel)));
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
  setAttribute(tile.state, "class", `wiro-state wiro-variant-${data.variant}`);
  if (tile.iconName !== data.icon) {
    tile.iconName = data.icon;
    tile.icon.replaceChildren(icon(data.icon, true));
  }
  setText(tile.word, data.word);
  setAttribute(tile.state, "title", data.kind === "failed" ? `${data.word}. ${data.middle}` : data.word);
  setMoneyText(tile.facts, factsText(tile, 0));
  setShown(tile.star, data.kind === "done");
  setAttribute(tile.star, "aria-pressed", String(Boolean(data.best)));
  setAttribute(tile.star, "aria-label", data.best ? `${data.label} is the best: take it back` : `Pick ${data.label} as best`);
  setAttribute(tile.star, "title", data.best ? "Take back" : "Pick as best");
  setAttribute(tile.open, "aria-label", `Open ${data.label}`);
  setAttribute(tile.open, "title", `Open run ${data.run}`);
  setShown(tile.cancel, data.cancel);
  setAttribute(tile.cancel, "aria-label", `Cancel ${data.label}`);
  setAttribute(tile.cancel, "title", data.kind === "running" ? "Cancel run" : "Cancel run, free while it waits");
  const busy = data.percent !== null && data.percent !== undefined;
  setShown(tile.percent, busy);
  setShown(tile.bar, busy);
  setText(tile.percent, busy ? `${Math.round(data.percent)}%` : "");
  setText(tile.step, data.step);
  setShown(tile.step, Boolean(data.step));
  tile.fill.style.width = busy ? `${data.percent}%` : "";
  setAttribute(tile.bar, "role", busy ? "progressbar" : null);
  setAttribute(tile.bar, "aria-label", busy ? data.label : null);
  setAttribute(tile.bar, "aria-valuemin", busy ? "0" : null);
  setAttribute(tile.bar, "aria-valuemax", busy ? "100" : null);
  setAttribute(tile.bar, "aria-valuenow", busy ? Math.round(data.percent) : null);
  setAttribute(tile.bar, "aria-valuetext", busy ? `${data.label}, ${Math.round(data.percent)} percent` : null);
  setMoneyText(tile.text, data.middle);
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
  if (data.kind !== "done" || tile.mediaKey === key || !(data.path || data.poster)) return;
  tile.mediaKey = key;
  const [address, poster] = await Promise.all([fileUrl(model, data.path), fileUrl(model, data.poster)]);
  if (tile.mediaKey !== key || context.closed) return;
  const askForPoster = () => data.poster && model.send({ action: "poster", p: data.p });
  const showGone = () => {
    setText(tile.text, "The file is gone.");
    setShown(tile.middle, true);
    setShown(tile.image ?? {}, false);
    askForPoster();
  };
  if (data.type === "video" && address) {
    const video = h("video", { poster: poster || null, preload: "none", loop: false, playsinline: true,
      disablepictureinpicture: true, "aria-label": `Clip: ${data.label}`, tabindex: "-1" });
    video.muted = true;
    video.defaultMuted = true;
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
  const parts = { icon: h("span", { class: "wiro-state-i" }), title: h("span", {}) };
  parts.state = h("span", { class: "wiro-state" }, parts.icon, parts.title);
  parts.cancel = button("Cancel", { icon: "cross", kind: "wiro-btn-s", onClick: () => act("cancel_waiting") });
  parts.fill = h("i", {});
  parts.bar = h("div", { class: "wiro-bar", role: "progressbar", "aria-label": "Sweep progress", "aria-valuemin": "0", "aria-valuemax": "100" }, parts.fill);
  parts.percent = h("b", {});
  parts.counts = h("span", {});
  parts.left = h("span", {});
  parts.spent = h("span", { class: "wiro-push" });
  parts.live = h("span", { class: "wiro-vh", role: "status" });
  parts.node = h("div", { class: "wiro-sec" },
    h("div", { class: "wiro-run-h" }, parts.state,
      h("span", { class: "wiro-run-id" }, h("code", {}, plan.model), ` · ${plan.varied}`),
      h("span", { class: "wiro-row wiro-push" }, parts.cancel)),
    plan.prompt ? h("p", { class: "wiro-sweep-p", title: plan.prompt, dir: "auto" }, plan.prompt) : null,
    ...plan.notes.map((note) => {
      const line = h("p", { class: "wiro-small wiro-muted" });
      setMoneyText(line, note);
      return line;
    }),
    h("div", { class: "wiro-prog" }, parts.bar, h("div", { class: "wiro-line" }, parts.percent, parts.counts, parts.left, parts.spent)),
    parts.live);
  return parts;
}

function drawHead(parts, head) {
  setAttribute(parts.state, "class", `wiro-state wiro-variant-${head.variant}`);
  if (parts.iconName !== head.icon) {
    parts.iconName = head.icon;
    parts.icon.replaceChildren(icon(head.icon));
  }
  setText(parts.title, head.title);
  setShown(parts.cancel, head.waiting > 0);
  setText(parts.cancel.lastElementChild, `Cancel the ${head.waiting} waiting`);
  parts.fill.style.width = `${head.percent}%`;
  setAttribute(parts.bar, "aria-valuenow", Math.round(head.percent));
  setAttribute(parts.bar, "aria-valuetext", head.valuetext);
  setText(parts.percent, `${Math.round(head.percent)}%`);
  setText(parts.counts, head.counts);
  setText(parts.left, head.left);
  setMoneyText(parts.spent, head.spent);
  if (parts.announced !== undefined && parts.announced !== head.title) setText(parts.live, head.title);
  parts.announced = head.title;
}

function makeFoot(context, act) {
  const parts = {};
  parts.play = button("Play all", { icon: "play", kind: "wiro-btn-s", onClick: () => context.player.toggle() });
  setAttribute(parts.play, "aria-label", "Play all finished clips together");
  parts.loop = button("Loop", { icon: "loop", kind: "wiro-btn-s wiro-btn-icon wiro-btn-muted", onClick: () => context.setLoop(!context.player.loop) });
  const id = freshId("position");
  parts.range = h("input", { type: "range", id, min: "0", max: "0", step: "1", value: "0",
    on: { input: () => context.player.seek(Number(parts.range.value) / context.fps) } });
  parts.moment = h("span", { class: "wiro-moment" });
  parts.best = h("span", {});
  parts.copy = button("Copy as cell", { icon: "copy", kind: "wiro-btn-s", onClick: () => act("copy") });
  parts.place = h("div", {});
  parts.node = h("div", { class: "wiro-sec wiro-foot" },
    h("div", { class: "wiro-scrub" }, parts.play, parts.loop, h("label", { class: "wiro-vh", for: id }, "Position in all clips"),
      parts.range, parts.moment, h("span", { class: "wiro-row wiro-push" }, parts.best, parts.copy)), parts.place);
  return parts;
}

function drawTime(foot, context, at) {
  const frames = Math.max(1, Math.round(context.length * context.fps));
  const frame = Math.min(frames - 1, Math.round(at * context.fps));
  setAttribute(foot.range, "max", frames - 1);
  foot.range.value = String(frame);
  foot.range.style.setProperty("--wiro-at", `${frames > 1 ? (100 * frame) / (frames - 1) : 0}%`);
  const text = `${momentText(at)} of ${momentText(context.length)}`;
  setText(foot.moment, text);
  setAttribute(foot.range, "aria-valuetext", text);
}

function drawPlaying(foot, playing) {
  foot.play.firstElementChild.replaceWith(icon(playing ? "pause" : "play", true));
  setText(foot.play.lastElementChild, playing ? "Pause" : "Play all");
  setAttribute(foot.play, "aria-label", playing ? "Pause all clips" : "Play all finished clips together");
}

function render({ model, el }) {
  const plan = model.get("plan");
  const before = kept.get(model)?.() ?? {};
  const act = (action, p) => model.send({ action, p: p ?? null });
  const tiles = model.get("tiles").map(() => makeTile(act));
  const head = makeHead(plan, act);
  const context = { length: 0, fps: 16, closed: false };
  context.player = makePlayer({ length: 0, fps: 16, onTime: (at) => drawTime(foot, context, at), onState: (on) => drawPlaying(foot, on) });
  context.setLoop = (on) => {
    context.player.setLoop(on);
    setAttribute(foot.loop, "aria-pressed", String(on));
  };
  const foot = makeFoot(context, act);
  context.setLoop(before.loop ?? true);
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
    context.length = Math.max(0, ...clips.map((data) => data.duration));
    context.fps = Math.max(1, ...clips.map((data) => data.fps));
    const shape = tiles.map((tile) => tile.data).find((data) => data.width && data.height);
    if (shape) root.style.setProperty("--wiro-shape", `${shape.width} / ${shape.height}`);
    context.player.setLength(context.length, context.fps);
    setShown(foot.node, clips.length > 0);
    drawTime(foot, context, context.player.time);
  };
  const drawAll = () => {
    const state = model.get("head");
    drawHead(head, state);
    setText(foot.best, state.best ? `Best: ${state.best}` : "");
    setShown(foot.copy, Boolean(state.best));
  };
  const onMessage = async (content, buffers) => {
    if (content?.type === "tiles") drawTiles(content.tiles);
    if (content?.type === "copy") {
      const copied = await copyText(String(content.text ?? ""), foot.place);
      setText(foot.copy.lastElementChild, copied ? "Copied" : "Press Ctrl+C");
      setTimeout(() => setText(foot.copy.lastElementChild, "Copy as cell"), 2000);
    }
    if (content?.type === "poster" && tiles[content.p] && buffers?.[0]) {
      const url = URL.createObjectURL(new Blob([buffers[0].buffer ?? buffers[0]], { type: "image/jpeg" }));
      context.urls = [...(context.urls ?? []), url];
      setImage(tiles[content.p], url);
    }
  };
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
    const star = tiles.findIndex((tile) => tile.star === document.activeElement);
    const { time, playing, loop } = context.player;
    return { time, playing, loop, star: star < 0 ? undefined : star };
  });
  const below = makeAttachment(model);
  const stopWatching = leaveStaticForm(model);
  el.classList.add("wiro");
  el.replaceChildren(root, below.node);
  drawTiles(model.get("tiles"));
  drawAll();
  drawPlaying(foot, false);
  act("handshake");
  if (before.time) context.player.seek(before.time);
  if (before.playing) context.player.play();
  if (before.star !== undefined) tiles[before.star]?.star.focus({ preventScroll: true });
  return () => {
    context.closed = true;
    clearInterval(timer);
    watcher.disconnect();
    stopWatching();
    below.close();
    context.player.close();
    for (const tile of tiles) unload(tile, context);
    for (const url of context.urls ?? []) URL.revokeObjectURL(url);
  };
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
