/** Clips side by side, in a grid or a comparison: muted videos, stars, posters from the kernel, the bar that plays all in step. */
import { button, freshId, h, icon, setAttribute, setAttributes, setText } from "./dom.js";
import { makePlayer, momentText } from "./player.js";

const SMALL = "wiro-btn-s wiro-btn-icon wiro-btn-muted";

/** A muted video without controls: the bar plays it. */
export function makeVideo(attributes) {
  const video = h("video", { playsinline: true, disablepictureinpicture: true, tabindex: "-1", ...attributes });
  video.muted = true;
  video.defaultMuted = true;
  return video;
}

/** A star that picks a run as the best one. */
export function makeStar(onClick) {
  const node = button("Pick as best", { icon: "star", kind: `${SMALL} wiro-star`, onClick });
  const draw = (name, isPicked, picked) => setAttributes(node, {
    "aria-pressed": String(isPicked), title: isPicked ? "Take back" : "Pick as best", "aria-label": isPicked ? `${name} ${picked}: take it back` : `Pick ${name} as best` });
  return { node, draw };
}

/** Turns posters that the kernel sends into addresses, which `close` gives up. */
export function makePosters(show) {
  const urls = [];
  return {
    onMessage: (content, buffers) => {
      if (content?.type !== "poster" || !buffers?.[0]) return;
      urls.push(URL.createObjectURL(new Blob([buffers[0].buffer ?? buffers[0]], { type: "image/jpeg" })));
      show(content.p, urls.at(-1));
    },
    close: () => urls.forEach((url) => URL.revokeObjectURL(url)),
  };
}

/**
 * The player of several clips and its bar.
 * @param {{length: number, fps: number, byFrames?: boolean, playLabel: string, pauseLabel: string, isNamed?: boolean, loop?: boolean}} options
 *   `byFrames`: with buttons and a number for single frames; `isNamed`: the play button shows its word.
 */
export function makeScrub(options) {
  const context = { length: options.length, fps: options.fps, closed: false };
  const step = (count) => () => context.player.stepFrames(count);
  const play = button("Play all", { icon: "play", kind: options.isNamed ? "wiro-btn-s" : "wiro-btn-s wiro-btn-icon", onClick: () => context.player.toggle() });
  const loop = button("Loop", { icon: "loop", kind: SMALL, onClick: () => context.setLoop(!context.player.loop) });
  const id = freshId("position");
  const range = h("input", { type: "range", id, min: "0", max: "0", step: "1", value: "0", on: { input: () => context.player.seek(Number(range.value) / context.fps) } });
  const moment = h("span", { class: "wiro-moment" });
  const frameText = h("span", { class: "wiro-moment wiro-muted" });
  const node = h("div", { class: "wiro-scrub" }, play,
    options.byFrames ? button("Back one frame", { icon: "back", kind: SMALL, onClick: step(-1) }) : null,
    options.byFrames ? button("Forward one frame", { icon: "forward", kind: SMALL, onClick: step(1) }) : null,
    loop, h("label", { class: "wiro-vh", for: id }, "Position in all clips"), range, moment, options.byFrames ? frameText : null);
  context.drawTime = (at) => {
    const frames = Math.max(1, Math.round(context.length * context.fps));
    const frame = Math.min(frames - 1, Math.round(at * context.fps));
    const text = `${momentText(at)} of ${momentText(context.length)}`;
    setAttribute(range, "max", frames - 1);
    range.value = String(frame);
    range.style.setProperty("--wiro-at", `${frames > 1 ? (100 * frame) / (frames - 1) : 0}%`);
    setText(moment, text);
    setText(frameText, `frame ${frame + 1} of ${frames}`);
    setAttribute(range, "aria-valuetext", options.byFrames ? `${momentText(at)}, ${frameText.textContent}` : text);
  };
  const onState = (playing) => {
    const label = playing ? options.pauseLabel : options.playLabel;
    play.firstElementChild.replaceWith(icon(playing ? "pause" : "play", true));
    if (options.isNamed) setText(play.lastElementChild, playing ? "Pause" : "Play all");
    setAttributes(play, { "aria-label": label, title: label });
  };
  context.setLoop = (on) => {
    context.player.setLoop(on);
    setAttribute(loop, "aria-pressed", String(on));
  };
  context.setLength = (length, fps) => {
    Object.assign(context, { length, fps });
    context.player.setLength(length, fps);
    context.drawTime(context.player.time);
  };
  context.player = makePlayer({ length: options.length, fps: options.fps, onTime: context.drawTime, onState });
  context.setLoop(options.loop ?? true);
  context.drawTime(0);
  onState(false);
  return { node, context };
}
