/** Two to four runs: clips in step side by side, or two of them wiped over one another; what differs below. */
import { button, disclosure, h, moneyNode, mount, setAttribute, setShown } from "./dom.js";
import { makeMedia, makeScrub, makeStar, watchMedia } from "./clips.js";
import { leaveStaticForm, saveOnlyStatic } from "./document.js";

/** Makes the parts of one run: its name, its star, its clip or picture. */
function makeClip(data, p, { model, player, signal }) {
  const text = h("div", { class: "wiro-mid" }, data.type === "video" || data.type === "image" ? "" : data.word);
  const clip = { data, star: makeStar(() => model.send({ action: "star", p })), media: makeMedia({ model, player, p, middle: text, text, signal }) };
  if (data.width && data.height) clip.media.node.style.setProperty("--wiro-shape", `${data.width} / ${data.height}`);
  clip.name = () => [h("span", { class: "wiro-ab" }, data.letter),
    h("span", { class: "wiro-run-id" }, "run ", h("code", {}, data.run), " · ", h("code", {}, data.model))];
  clip.media.draw({ ...data, label: data.letter });
  return clip;
}

function makeTable(view) {
  const letters = view.clips.map((clip) => clip.letter);
  const cell = (pieces) => h("td", { dir: "auto" }, ...pieces.map(([text, isMarked]) => moneyNode(isMarked ? "u" : "span", text)));
  const line = (row) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, row.name)), ...row.cells.map(cell));
  return h("table", { class: "wiro-diff" }, h("caption", { class: "wiro-vh" }, "Settings that differ, and results"),
    h("thead", {}, h("tr", {}, ...[view.title, ...letters].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, ...view.differ.map(line),
      view.results.length > 0 && h("tr", { class: "wiro-diff-group" }, h("th", { colspan: String(letters.length + 1), scope: "colgroup" }, "Results")),
      ...view.results.map(line)));
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
    parts.stage.replaceChildren(...clips.map((clip) => clip.media.node));
    parts.heads.replaceChildren(...clips.map((clip) => h("span", {}, ...clip.name(), clip.star.node)));
    parts.clips.replaceChildren(parts.heads, parts.stage, parts.bar);
  } else {
    parts.clips.replaceChildren(h("div", { class: "wiro-pairs" }, ...clips.map((clip) =>
      h("figure", {}, h("figcaption", {}, ...clip.name(), h("span", { class: "wiro-push" }, clip.star.node)), clip.media.node))));
  }
  setAttribute(parts.side, "aria-pressed", String(!wiped));
  setAttribute(parts.wipe, "aria-pressed", String(wiped));
}

function render({ model, el, signal }) {
  const view = model.get("view");
  const { node: scrub, player, setClips, onKey } = makeScrub({ byFrames: true, playLabel: "Play all", pauseLabel: "Pause all" }, signal);
  setClips(view.clips);
  const clips = view.clips.map((data, p) => makeClip(data, p, { model, player, signal }));
  const parts = { heads: h("div", { class: "wiro-cmp-heads" }), clips: h("div") };
  parts.side = button("Side by side", { kind: "wiro-btn-s wiro-btn-muted", onClick: () => arrange(parts, clips, false) });
  parts.wipe = button("Wipe", { kind: "wiro-btn-s wiro-btn-muted", onClick: () => arrange(parts, clips, true) });
  if (clips.length === 2) Object.assign(parts, makeWipe(clips));
  arrange(parts, clips, false);
  setShown(scrub, view.clips.some((clip) => clip.type === "video" && clip.path));
  const drawStars = () => model.get("stars").forEach((on, index) => clips[index].star.draw(clips[index].data.letter, on, "is picked"));
  model.on("change:stars", drawStars);
  watchMedia(model, clips.map((clip) => clip.media), signal);
  leaveStaticForm(model, signal);
  mount(el, h("section", { class: "wiro-card wiro-compare", tabindex: "-1",
    "aria-label": `Compare ${view.clips.map((clip) => `run ${clip.run}`).join(" with ")}`, on: { keydown: onKey } },
  h("div", { class: "wiro-sec wiro-below" }, clips.length === 2 && h("div", { class: "wiro-row" }, parts.side, parts.wipe), parts.clips, scrub),
  h("div", { class: "wiro-sec" }, h("div", { class: "wiro-scroll" }, makeTable(view)), view.same.length > 0 && disclosure(view.same_title, h("span", { class: "wiro-muted" }, view.same.join(", "))))));
  drawStars();
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
