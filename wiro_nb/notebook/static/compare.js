/** Two to four runs: clips in step side by side, or two of them wiped over one another; what differs below. */
import { button, h, icon, setAttribute, setMoneyText, setShown } from "./dom.js";
import { makePosters, makeScrub, makeStar, makeVideo } from "./clips.js";
import { stopKeyPropagation } from "./key_propagation.js";
import { fileUrl } from "./file_url.js";
import { leaveStaticForm, saveOnlyStatic } from "./live_views.js";
import { onPlayerKey } from "./player.js";

function makeClip(data, position, act) {
  const clip = { data, video: null };
  clip.star = makeStar(() => act("star", position));
  clip.text = h("div", { class: "wiro-mid" }, data.type === "video" || data.type === "image" ? "" : data.word);
  clip.picture = h("div", { class: "wiro-pic" }, clip.text);
  if (data.width && data.height) clip.picture.style.setProperty("--wiro-shape", `${data.width} / ${data.height}`);
  clip.name = () => [h("span", { class: "wiro-ab" }, data.letter),
    h("span", { class: "wiro-run-id" }, "run ", h("code", {}, data.run), " · ", h("code", {}, data.model))];
  return clip;
}

function showImage(clip, source) {
  clip.image ??= h("img", { alt: `Run ${clip.data.letter}` });
  clip.image.src = source;
  if (!clip.image.isConnected) clip.picture.append(clip.image);
  setShown(clip.text, false);
}

async function loadMedia(clip, position, model, context) {
  const { data } = clip;
  const [address, poster] = await Promise.all([fileUrl(model, data.path), fileUrl(model, data.poster)]);
  if (context.closed) return;
  const askForPoster = () => data.poster && model.send({ action: "poster", p: position });
  if (data.type === "video" && address) {
    const video = makeVideo({ src: address, poster: poster || null, preload: "auto", "aria-label": `Clip ${data.letter}` });
    video.addEventListener("error", () => {
      context.player.remove(video);
      setShown(video, false);
      askForPoster();
    });
    clip.video = video;
    clip.picture.append(video);
    setShown(clip.text, false);
    context.player.add(video, data.duration);
  } else if (data.type === "image" && address) showImage(clip, address);
  else askForPoster();
}

function makeTable(view) {
  const letters = view.clips.map((clip) => clip.letter);
  const count = view.differ.length;
  const title = count === 0 ? "no setting differs" : count === 1 ? "1 setting differs" : `${count} settings differ`;
  const cells = (row) => row.cells.map((pieces) => {
    const cell = h("td", { dir: "auto" });
    for (const [text, marked] of pieces) {
      const node = h(marked ? "u" : "span", {});
      setMoneyText(node, text);
      cell.append(node);
    }
    return cell;
  });
  const line = (row) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, row.name)), ...cells(row));
  return h("table", { class: "wiro-diff" }, h("caption", { class: "wiro-vh" }, "Settings that differ, and results"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, title), ...letters.map((letter) => h("th", { scope: "col" }, letter)))),
    h("tbody", {}, ...view.differ.map(line),
      view.results.length ? h("tr", { class: "wiro-diff-group" }, h("th", { colspan: String(letters.length + 1), scope: "colgroup" }, "Results")) : null,
      ...view.results.map(line)));
}

function makeSame(names) {
  if (!names.length) return null;
  const title = names.length === 1 ? "1 setting is the same" : `${names.length} settings are the same`;
  const mark = icon("chevron", true);
  mark.classList.add("wiro-chev");
  return h("details", { class: "wiro-more" }, h("summary", {}, mark, title, h("span", { class: "wiro-muted" }, names.join(", "))));
}

/** The bar over two clips laid on one another. */
function makeWipe(clips) {
  const cut = h("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": `Wipe between ${clips[0].data.letter} and ${clips[1].data.letter}` });
  const stage = h("div", { class: "wiro-wipe" });
  const move = (percent) => {
    cut.value = String(percent);
    stage.style.setProperty("--wiro-cut", `${percent}%`);
    cut.style.setProperty("--wiro-at", `${percent}%`);
    setAttribute(cut, "aria-valuetext", `${Math.round(percent)} percent ${clips[0].data.letter}`);
  };
  cut.addEventListener("input", () => move(Number(cut.value)));
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons === 0 && event.pointerType !== "mouse") return;
    const box = stage.getBoundingClientRect();
    move(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
  });
  move(50);
  return { stage, bar: h("div", { class: "wiro-scrub" }, h("span", {}, clips[0].data.letter), cut, h("span", {}, clips[1].data.letter)) };
}

function arrange(parts, clips, wiped) {
  if (wiped) {
    parts.stage.replaceChildren(...clips.map((clip) => clip.picture));
    parts.heads.replaceChildren(...clips.map((clip) => h("span", {}, ...clip.name(), clip.star.node)));
    parts.clips.replaceChildren(parts.heads, parts.stage, parts.bar);
  } else {
    parts.clips.replaceChildren(h("div", { class: "wiro-pairs" }, ...clips.map((clip) =>
      h("figure", {}, h("figcaption", {}, ...clip.name(), h("span", { class: "wiro-push" }, clip.star.node)), clip.picture))));
  }
  setAttribute(parts.side, "aria-pressed", String(!wiped));
  setAttribute(parts.wipe, "aria-pressed", String(wiped));
}

function render({ model, el }) {
  const view = model.get("view");
  const act = (action, p) => model.send({ action, p });
  const { node: scrub, context } = makeScrub({ byFrames: true, playLabel: "Play all", pauseLabel: "Pause all",
    fps: Math.max(1, ...view.clips.map((clip) => clip.fps)), length: Math.max(0, ...view.clips.map((clip) => clip.duration)) });
  const parts = { heads: h("div", { class: "wiro-cmp-heads" }), clips: h("div", {}) };
  const clips = view.clips.map((data, position) => makeClip(data, position, act));
  parts.side = button("Side by side", { kind: "wiro-btn-s wiro-btn-muted", onClick: () => arrange(parts, clips, false) });
  parts.wipe = button("Wipe", { kind: "wiro-btn-s wiro-btn-muted", onClick: () => arrange(parts, clips, true) });
  if (clips.length === 2) Object.assign(parts, makeWipe(clips));
  arrange(parts, clips, false);
  const hasVideo = view.clips.some((clip) => clip.type === "video" && clip.path);
  setShown(scrub, hasVideo);
  const root = h("section", { class: "wiro-card wiro-compare", tabindex: "-1",
    "aria-label": `Compare ${view.clips.map((clip) => `run ${clip.run}`).join(" with ")}`, on: { keydown: (event) => onPlayerKey(event, context) } },
    h("div", { class: "wiro-sec wiro-below" },
      clips.length === 2 ? h("div", { class: "wiro-row" }, parts.side, parts.wipe) : null, parts.clips, scrub),
    h("div", { class: "wiro-sec" }, h("div", { class: "wiro-scroll" }, makeTable(view)), makeSame(view.same)));
  stopKeyPropagation(root);
  const drawStars = () => model.get("stars").forEach((on, index) => clips[index].star.draw(clips[index].data.letter, on, "is picked"));
  const posters = makePosters((position, url) => clips[position] && showImage(clips[position], url));
  model.on("change:stars", drawStars);
  model.on("msg:custom", posters.onMessage);
  const stopWatching = leaveStaticForm(model);
  el.classList.add("wiro");
  el.replaceChildren(root);
  drawStars();
  clips.forEach((clip, position) => loadMedia(clip, position, model, context));
  return () => {
    context.closed = true;
    stopWatching();
    context.player.close();
    posters.close();
  };
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
