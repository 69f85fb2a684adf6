/** A film: one player over all shots, a strip of their posters to jump by, and the shot that is edited. */
import { button, copyText, freshId, h, icon, setAttribute, setMoneyText, setShown, setText } from "./dom.js";
import { stopKeyPropagation } from "./key_propagation.js";
import { fileUrl } from "./file_url.js";
import { leaveStaticForm, saveOnlyStatic } from "./live_views.js";
import { momentText } from "./player.js";

/** What a view leaves for the next one of the same film: an output may be drawn anew at any time. */
const keptFilms = new WeakMap();

function makeShot(number, act) {
  const shot = {};
  shot.image = h("img", { alt: "", hidden: true });
  shot.word = h("div", { class: "wiro-mid" });
  shot.fill = h("i", {});
  shot.bar = h("div", { class: "wiro-bar" }, shot.fill);
  shot.name = h("b", {});
  shot.icon = h("span", { class: "wiro-state-i" });
  shot.about = h("span", {});
  shot.jump = h("button", { type: "button", class: "wiro-shot", on: { click: () => act("jump", number) } },
    h("span", { class: "wiro-pic" }, shot.image, shot.word), shot.bar,
    h("span", { class: "wiro-shot-name" }, h("span", {}, `${number + 1}. `), shot.name),
    h("span", { class: "wiro-small wiro-muted wiro-shot-about" }, shot.icon, shot.about));
  shot.node = h("li", { class: "wiro-shot-cell" }, shot.jump);
  return shot;
}

function drawShot(shot, data, poster, isNow) {
  setText(shot.name, data.name);
  if (poster && shot.image.src !== poster) shot.image.src = poster;
  setShown(shot.image, Boolean(poster));
  setMoneyText(shot.word, poster ? "" : data.prompt);
  setShown(shot.word, !poster);
  if (shot.iconName !== data.icon) {
    shot.iconName = data.icon;
    shot.icon.replaceChildren(icon(data.icon, true));
  }
  setAttribute(shot.icon, "class", `wiro-state-i wiro-state wiro-variant-${data.variant}`);
  setMoneyText(shot.about, [data.word, data.source ? `from ${data.source}` : "", data.cost].filter(Boolean).join(", "));
  setShown(shot.bar, data.percent !== null && data.percent !== undefined);
  shot.fill.style.width = `${data.percent ?? 0}%`;
  setAttribute(shot.jump, "aria-label", `${data.name}: ${data.word}. ${data.prompt}`);
  setAttribute(shot.jump, "title", data.prompt);
  setAttribute(shot.jump, "aria-current", isNow ? "true" : null);
}

function render({ model, el }) {
  const view = { chosen: 0, editing: -1, time: null, ...keptFilms.get(model)?.(), source: "", closed: false };
  const state = () => model.get("state");
  const send = (action, more = {}) => model.send({ action, ...more });
  const act = (_action, number) => jump(number);
  const title = h("span", {});
  const stateIcon = h("span", { class: "wiro-state-i" });
  const head = h("span", { class: "wiro-state" }, stateIcon, title);
  const about = h("span", { class: "wiro-run-id" });
  const note = h("p", { class: "wiro-small wiro-muted" });
  const live = h("span", { class: "wiro-vh", role: "status" });
  const retry = button("Retry failed shots", { icon: "loop", kind: "wiro-btn-s", onClick: () => send("retry") });
  const cancel = button("Cancel film", { icon: "cross", kind: "wiro-btn-s", onClick: () => send("cancel") });
  const copy = button("Copy cell", { icon: "copy", kind: "wiro-btn-s", onClick: () => send("copy") });
  const video = h("video", { class: "wiro-film-v", controls: true, playsinline: true, preload: "metadata", "aria-label": "Film" });
  const place = h("div", {});
  const strip = h("ol", { class: "wiro-strip", "aria-label": "Shots" });
  const shots = state().shots.map((_data, number) => makeShot(number, act));
  strip.append(...shots.map((shot) => shot.node));
  const now = h("b", {});
  const moment = h("span", { class: "wiro-muted" });
  const edit = button("Edit this shot", { kind: "wiro-btn-s", onClick: () => openEditor() });
  const id = freshId("prompt");
  const area = h("textarea", { class: "wiro-in", id, rows: "3" });
  const price = h("span", { class: "wiro-small", role: "status" });
  const askPrice = button("Show price", { kind: "wiro-btn-s", onClick: () => send("price", edited()) });
  const runShot = button("Run changed shots", { icon: "play", kind: "wiro-btn-s", onClick: () => send("run", edited()) });
  const editor = h("div", { class: "wiro-film-edit", hidden: true }, h("label", { for: id }, "Prompt"), area,
    h("div", { class: "wiro-row" }, runShot, askPrice, price));
  const root = h("section", { class: "wiro-card wiro-film", "aria-label": "Film", tabindex: "-1" },
    h("div", { class: "wiro-sec" }, h("div", { class: "wiro-run-h" }, head, about,
      h("span", { class: "wiro-row wiro-push" }, retry, cancel, copy)), note, live),
    h("div", { class: "wiro-sec" }, video, h("div", { class: "wiro-row" }, now, moment, h("span", { class: "wiro-push" }, edit)), editor, strip, place));
  stopKeyPropagation(root);

  const edited = () => ({ p: view.editing, prompt: area.value });
  const openEditor = () => {
    view.editing = view.editing === view.chosen ? -1 : view.chosen;
    if (view.editing >= 0) {
      area.value = state().shots[view.editing].prompt;
      setText(price, "");
      send("price", edited());
    }
    setShown(editor, view.editing >= 0);
    setAttribute(edit, "aria-expanded", String(view.editing >= 0));
    if (view.editing >= 0) area.focus();
  };
  /** Shows the film, or a shot's own clip while there is none. */
  const load = async (path, version, at) => {
    const wanted = `${path}|${version}`;
    if (wanted !== view.source) {
      view.source = wanted;
      const address = await fileUrl(model, path);
      if (view.closed || wanted !== view.source) return;
      setShown(video, Boolean(address));
      if (!address) return;
      // Another file of the same name must not come from the cache.
      video.src = version ? `${address}${address.includes("?") ? "&" : "?"}v=${version.slice(0, 8)}` : address;
      const poster = model.get("posters")[String(view.chosen)];
      if (poster) video.poster = poster;
    }
    if (at === null) return;
    if (video.readyState) video.currentTime = at;
    else video.addEventListener("loadedmetadata", () => { video.currentTime = at; }, { once: true });
  };
  const jump = (number) => {
    view.chosen = number;
    const data = state();
    const start = data.shots[number].start;
    const whole = data.path && start !== null;
    // A hair past the frame's edge: rounding must not show the frame before.
    if (whole) load(data.path, data.version, start + 0.001).then(() => video.play?.().catch(() => {}));
    else if (data.shots[number].path) load(data.shots[number].path, "", 0);
    draw();
  };
  const draw = () => {
    const data = state();
    const posters = model.get("posters");
    if (view.icon !== data.icon) {
      view.icon = data.icon;
      stateIcon.replaceChildren(icon(data.icon));
    }
    setAttribute(head, "class", `wiro-state wiro-variant-${data.variant}`);
    setText(title, data.title);
    if (live.textContent !== data.title) setText(live, data.title);
    setMoneyText(about, data.about);
    setMoneyText(note, data.note);
    setShown(retry, data.retry);
    setShown(cancel, data.cancel);
    data.shots.forEach((shot, number) => shots[number] && drawShot(shots[number], shot, posters[String(number)], number === view.chosen));
    const chosen = data.shots[view.chosen];
    setText(now, chosen.name);
    setText(moment, chosen.start === null ? chosen.word : `${momentText(chosen.start)} of ${momentText(data.length)}`);
    if (data.path) {
      load(data.path, data.version, view.time || null);
      view.time = null;
    }
    else if (!view.source) {
      const first = data.shots.findIndex((shot) => shot.path);
      setShown(video, first >= 0);
      if (first >= 0) load(data.shots[first].path, "", null);
    }
  };
  video.addEventListener("timeupdate", () => {
    const { shots: all, path } = state();
    if (!path || video.seeking) return;
    const at = all.findLastIndex((shot) => shot.start !== null && shot.start <= video.currentTime + 0.01);
    if (at >= 0 && at !== view.chosen) {
      view.chosen = at;
      draw();
    }
  });
  const onMessage = async (content) => {
    if (content?.type === "price") setMoneyText(price, content.text);
    if (content?.type === "copy") {
      const copied = await copyText(String(content.text ?? ""), place);
      setText(copy.lastElementChild, copied ? "Copied" : "Press Ctrl+C");
      setTimeout(() => setText(copy.lastElementChild, "Copy cell"), 2000);
    }
  };
  model.on("change:state", draw);
  model.on("change:posters", draw);
  model.on("msg:custom", onMessage);
  const stopWatching = leaveStaticForm(model);
  el.classList.add("wiro");
  el.replaceChildren(root);
  keptFilms.set(model, () => ({
    chosen: view.chosen, editing: view.editing, text: area.value, told: price.textContent, time: video.currentTime,
  }));
  if (view.editing >= 0) {
    area.value = view.text;
    setMoneyText(price, view.told);
    setShown(editor, true);
    setAttribute(edit, "aria-expanded", "true");
  }
  draw();
  return () => {
    view.closed = true;
    stopWatching();
    video.removeAttribute("src");
    video.load();
  };
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
