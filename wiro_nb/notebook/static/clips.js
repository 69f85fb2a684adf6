/** Clips side by side, in a grid or a comparison: muted videos, stars, posters from the kernel, the bar that plays all in step. */
import { button, freshId, h, icon, momentText, setAttribute, setAttributes, setShown, setText, SMALL_ICON } from "./dom.js";
import { fileUrl } from "./document.js";
import { makePlayer } from "./player.js";

/** A star that picks a run as the best one. */
export function makeStar(onClick) {
  const node = button("Pick as best", { icon: "star", kind: `${SMALL_ICON} wiro-star`, onClick });
  const draw = (name, isPicked, picked) => setAttributes(node, {
    "aria-pressed": String(isPicked), title: isPicked ? "Take back" : "Pick as best", "aria-label": isPicked ? `${name} ${picked}: take it back` : `Pick ${name} as best` });
  return { node, draw };
}

/**
 * The picture of one run among several: its clip, loaded while it is in sight, or an image that stands in for it.
 * @param {{model: any, player: any, p: number, middle: HTMLElement, text: HTMLElement, signal: AbortSignal}} options
 *   `middle` stands where there is no picture, and `text` in it says why.
 */
export function makeMedia({ model, player, p, middle, text, signal }) {
  const node = h("div", { class: "wiro-pic" }, middle);
  let [source, isSeen, isLoaded, data, video, image] = ["", false, false, {}, null, null];
  const showMiddle = (isShown) => {
    setShown(middle, isShown);
    for (const media of node.querySelectorAll("video, .wiro-still")) setShown(media, !isShown);
  };
  const askForPoster = () => data.poster && model.send({ action: "poster", p });
  const showGone = () => {
    setText(text, `File gone. Get it again at no cost: %wiro download ${data.run}`);
    showMiddle(true);
    askForPoster();
  };
  const showImage = (address, onError) => {
    image ??= node.appendChild(h("img", { class: "wiro-still", alt: `${data.label}, a frame of the clip`, loading: "lazy" }));
    if (onError) image.addEventListener("error", onError, { once: true });
    image.src = address;
    showMiddle(false);
  };
  const load = () => {
    if (!video || isLoaded) return;
    isLoaded = true;
    setAttributes(video, { preload: "auto", src: source });
    player.add(video, data.duration || 0);
  };
  const unload = () => {
    if (!isLoaded) return;
    isLoaded = false;
    player.remove(video);
    setAttributes(video, { preload: "none", src: null });
    video.load();
  };
  const draw = async (newest) => {
    const isSame = data.path === newest.path && data.poster === newest.poster;
    data = newest;
    if (isSame) return;
    unload(); // its file is gone, or there again
    node.replaceChildren(...[...node.children].filter((child) => child !== video && child !== image));
    video = image = null;
    setShown(middle, true);
    const [address, poster] = await Promise.all([fileUrl(model, newest.path), fileUrl(model, newest.poster)]);
    if (data.path !== newest.path || signal.aborted) return;
    if (data.type === "video" && address) {
      // Without controls: the bar plays it.
      video = h("video", { playsinline: true, disablepictureinpicture: true, tabindex: "-1", poster: poster || null, preload: "none", "aria-label": `Clip: ${data.label}` });
      video.muted = video.defaultMuted = true;
      video.addEventListener("error", () => {
        if (!isLoaded) return;
        player.remove(video);
        showGone();
      });
      source = address;
      node.append(video);
      showMiddle(false);
      if (isSeen) load();
    } else if (data.type === "image" && address) showImage(address, showGone);
    else if (poster) showImage(poster, showGone);
    else askForPoster();
  };
  const see = (isNow) => {
    isSeen = isNow;
    (isSeen ? load : unload)();
  };
  signal.addEventListener("abort", unload);
  return { node, draw, see, showImage };
}

/** Loads the clips that come into sight, unloads those that leave it, and shows posters that the kernel sends. */
export function watchMedia(model, medias, signal) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) medias.find((media) => media.node === entry.target).see(entry.isIntersecting);
  }, { rootMargin: "120px" });
  for (const media of medias) watcher.observe(media.node);
  signal.addEventListener("abort", () => watcher.disconnect());
  model.on("msg:custom", (content, buffers) => {
    if (content?.type !== "poster" || !buffers?.[0]) return;
    const url = URL.createObjectURL(new Blob([buffers[0].buffer ?? buffers[0]], { type: "image/jpeg" }));
    signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    medias[content.p]?.showImage(url);
  });
}

/**
 * The player of several clips and its bar.
 * @param {{byFrames?: boolean, playLabel: string, pauseLabel: string, isNamed?: boolean}} options
 *   `byFrames`: with buttons and a number for single frames; `isNamed`: the play button shows its word.
 * @param {AbortSignal} signal ends the playing
 */
export function makeScrub({ byFrames, playLabel, pauseLabel, isNamed }, signal) {
  const step = (count) => () => player.stepFrames(count);
  const play = button("Play all", { icon: "play", kind: isNamed ? "wiro-btn-s" : "wiro-btn-s wiro-btn-icon", onClick: () => player.toggle() });
  const loop = button("Loop", { icon: "loop", kind: SMALL_ICON, onClick: () => setLoop(!player.loop) });
  const id = freshId("position");
  const range = h("input", { type: "range", id, min: "0", max: "0", step: "1", value: "0", on: { input: () => player.seek(Number(range.value) / player.fps) } });
  const moment = h("span", { class: "wiro-moment" });
  const frameText = h("span", { class: "wiro-moment wiro-muted" });
  const node = h("div", { class: "wiro-scrub" }, play,
    byFrames && button("Back one frame", { icon: "back", kind: SMALL_ICON, onClick: step(-1) }),
    byFrames && button("Forward one frame", { icon: "forward", kind: SMALL_ICON, onClick: step(1) }),
    loop, h("label", { class: "wiro-vh", for: id }, "Position in all clips"), range, moment, byFrames && frameText);
  const drawTime = (at) => {
    const frames = Math.max(1, Math.round(player.length * player.fps));
    const frame = Math.min(frames - 1, Math.round(at * player.fps));
    const text = `${momentText(at)} of ${momentText(player.length)}`;
    setAttribute(range, "max", frames - 1);
    range.value = String(frame);
    range.style.setProperty("--wiro-at", `${frames > 1 ? (100 * frame) / (frames - 1) : 0}%`);
    setText(moment, text);
    setText(frameText, `frame ${frame + 1} of ${frames}`);
    setAttribute(range, "aria-valuetext", byFrames ? `${momentText(at)}, ${frameText.textContent}` : text);
  };
  const onState = (isPlaying) => {
    const label = isPlaying ? pauseLabel : playLabel;
    play.firstElementChild.replaceWith(icon(isPlaying ? "pause" : "play", true));
    if (isNamed) setText(play.lastElementChild, isPlaying ? "Pause" : "Play all");
    setAttributes(play, { "aria-label": label, title: label });
  };
  const setLoop = (isOn) => {
    player.loop = isOn;
    setAttribute(loop, "aria-pressed", String(isOn));
  };
  /** Sets the length from the longest clip and the fastest one's frames. */
  const setClips = (clips) => {
    player.length = Math.max(0, ...clips.map((clip) => clip.duration));
    player.fps = Math.max(1, ...clips.map((clip) => clip.fps));
    drawTime(player.time);
  };
  /** Space plays, arrows step by a frame, Home and End jump, L loops: unless a control wants the key itself. */
  const onKey = (event) => {
    const control = event.target.closest("button, input, a, textarea, summary");
    const isRange = control?.type === "range";
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const moves = { ArrowLeft: step(-1), ArrowRight: step(1), Home: () => player.seek(0), End: () => player.seek(player.length) };
    if (event.key === " " && (!control || isRange)) player.toggle();
    else if (event.key in moves && !isRange) moves[event.key]();
    else if (event.key.toLowerCase() === "l" && control?.tagName !== "TEXTAREA") setLoop(!player.loop);
    else return;
    event.preventDefault();
  };
  const player = makePlayer(drawTime, onState);
  signal.addEventListener("abort", player.pause);
  setLoop(true);
  drawTime(0);
  onState(false);
  return { node, player, setLoop, setClips, onKey };
}
