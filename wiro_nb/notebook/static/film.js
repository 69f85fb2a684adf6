/** A film: one player over all shots, a strip of their posters to jump by, and the shot that is edited. */
import { button, freshId, h, makeCopyButton, makeState, momentText, mount, setAttributes, setMoneyText, setProgress, setShown, setText } from "./dom.js";
import { fileUrl, leaveStaticForm, saveOnlyStatic } from "./document.js";

/** What a view leaves for the next one of the same film, by its key: an output may be drawn anew at any time. */
const keptFilms = new Map();

function makeShot(number, jump) {
  const shot = { image: h("img", { alt: "", hidden: true }), word: h("div", { class: "wiro-mid" }), bar: h("div", { class: "wiro-bar" }, h("i")),
    name: h("b"), state: makeState(true), about: h("span") };
  shot.jump = h("button", { type: "button", class: "wiro-shot", on: { click: () => jump(number) } },
    h("span", { class: "wiro-pic" }, shot.image, shot.word), shot.bar,
    h("span", { class: "wiro-shot-name" }, h("span", {}, `${number + 1}. `), shot.name),
    h("span", { class: "wiro-small wiro-muted wiro-shot-about" }, shot.state.node, shot.about));
  shot.node = h("li", { class: "wiro-shot-cell" }, shot.jump);
  return shot;
}

function drawShot(shot, data, isNow) {
  setText(shot.name, data.name);
  if (data.poster && shot.image.src !== data.poster) shot.image.src = data.poster;
  setShown(shot.image, data.poster);
  setMoneyText(shot.word, data.poster ? "" : data.prompt);
  setShown(shot.word, !data.poster);
  shot.state.draw(data.status, "");
  setMoneyText(shot.about, [data.word, data.about].filter(Boolean).join(", "));
  setProgress(shot.bar, data.percent, data.name);
  setAttributes(shot.jump, { "aria-label": `${data.name}: ${data.word}. ${data.prompt}`, title: data.prompt, "aria-current": isNow && "true" });
}

function render({ model, el, signal }) {
  const key = model.get("view_key");
  const view = { chosen: 0, editing: -1, time: null, ...keptFilms.get(key)?.(), source: "" };
  const all = [...model.get("items")];
  const send = (action, more = {}) => model.send({ action, ...more });
  const small = (label, onClick, name) => button(label, { icon: name, kind: "wiro-btn-s", onClick });
  const edited = () => ({ p: view.editing, prompt: area.value });
  const head = makeState();
  const about = h("span", { class: "wiro-run-id" });
  const note = h("p", { class: "wiro-small wiro-muted" });
  const live = h("span", { class: "wiro-vh", role: "status" });
  const retry = small("Retry failed shots", () => send("retry"), "loop");
  const cancel = small("Cancel film", () => send("cancel"), "cross");
  const place = h("div");
  const copy = makeCopyButton("Copy as cell", () => send("copy"), place);
  const video = h("video", { class: "wiro-film-v", controls: true, playsinline: true, preload: "metadata", "aria-label": "Film" });
  const now = h("b");
  const moment = h("span", { class: "wiro-muted" });
  const edit = small("Edit this shot", () => openEditor());
  const id = freshId("prompt");
  const area = h("textarea", { class: "wiro-in", id, rows: "3" });
  const price = h("span", { class: "wiro-small", role: "status" });
  const editor = h("div", { class: "wiro-film-edit", hidden: true }, h("label", { for: id }, "Prompt"), area,
    h("div", { class: "wiro-row" }, small("Run changed shots", () => send("run", edited()), "play"), small("Show price", () => send("price", edited())), price));

  const showEditor = (number) => {
    view.editing = number;
    setShown(editor, number >= 0);
    edit.ariaExpanded = String(number >= 0);
  };
  const openEditor = () => {
    showEditor(view.editing === view.chosen ? -1 : view.chosen);
    if (view.editing < 0) return;
    area.value = all[view.editing].prompt;
    setText(price, "");
    send("price", edited());
    area.focus();
  };
  /** Shows the film, or a shot's own clip while there is none. */
  const load = async (path, version, at) => {
    const wanted = `${path}|${version}`;
    if (wanted !== view.source) {
      view.source = wanted;
      const address = await fileUrl(model, path);
      if (signal.aborted || wanted !== view.source) return;
      setShown(video, address);
      if (!address) return;
      // Another file of the same name must not come from the cache.
      video.src = version ? `${address}${address.includes("?") ? "&" : "?"}v=${version.slice(0, 8)}` : address;
    }
    if (at === null) return;
    if (video.readyState) video.currentTime = at;
    else video.addEventListener("loadedmetadata", () => { video.currentTime = at; }, { once: true });
  };
  const jump = (number) => {
    view.chosen = number;
    const { path, version } = model.get("head");
    const { start_s: start, path: own } = all[number];
    // A hair past the frame's edge: rounding must not show the frame before.
    if (path && start !== null) load(path, version, start + 0.001).then(() => video.play().catch(() => {}));
    else if (own) load(own, "", 0);
    draw();
  };
  const strip = h("ol", { class: "wiro-strip", "aria-label": "Shots" });
  const shots = all.map((_data, number) => makeShot(number, jump));
  strip.append(...shots.map((shot) => shot.node));
  const draw = () => {
    const data = model.get("head");
    head.draw(data, data.title);
    setText(live, data.title);
    setMoneyText(about, data.about);
    setMoneyText(note, data.note);
    setShown(retry, data.retry);
    setShown(cancel, data.cancel);
    all.forEach((shot, number) => drawShot(shots[number], shot, number === view.chosen));
    const chosen = all[view.chosen];
    setText(now, chosen.name);
    setText(moment, chosen.start_s === null ? chosen.word : `${momentText(chosen.start_s)} of ${momentText(data.length)}`);
    if (data.path) {
      load(data.path, data.version, view.time || null);
      view.time = null;
    } else if (!view.source) {
      const first = all.find((shot) => shot.path);
      setShown(video, first);
      if (first) load(first.path, "", null);
    }
  };
  video.addEventListener("timeupdate", () => {
    if (!model.get("head").path || video.seeking) return;
    const at = all.findLastIndex((shot) => shot.start_s !== null && shot.start_s <= video.currentTime + 0.01);
    if (at < 0 || at === view.chosen) return;
    view.chosen = at;
    draw();
  });
  model.on("change:head", draw);
  model.on("msg:custom", (content) => {
    if (content?.type === "items") {
      for (const shot of content.items) all[shot.p] = shot;
      draw();
    }
    if (content?.type === "price") setMoneyText(price, content.text);
    if (content?.type === "copy") copy.answer(content.text);
  });
  leaveStaticForm(model, signal);
  mount(el, h("section", { class: "wiro-card wiro-film", "aria-label": "Film", tabindex: "-1" },
    h("div", { class: "wiro-sec" }, h("div", { class: "wiro-run-h" }, head.node, about, h("span", { class: "wiro-row wiro-push" }, retry, cancel, copy.node)), note, live),
    h("div", { class: "wiro-sec" }, video, h("div", { class: "wiro-row" }, now, moment, h("span", { class: "wiro-push" }, edit)), editor, strip, place)));
  keptFilms.set(key, () => ({ chosen: view.chosen, editing: view.editing, text: area.value, price: price.textContent, time: video.currentTime }));
  showEditor(view.editing);
  if (view.editing >= 0) {
    area.value = view.text;
    setMoneyText(price, view.price);
  }
  draw();
  send("handshake");
  return () => {
    video.removeAttribute("src");
    video.load();
  };
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
