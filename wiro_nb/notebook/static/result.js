/**
 * What a finished run made: clips, pictures, sound and text, with links that open, download and copy. Several
 * outputs stand in a grid. Whether clips loop and are muted is remembered by the browser.
 */
import { h, icon, button, hasChanged, recall, remember, setText, setShown, setAttribute, SMALL_ICON } from "./dom.js";
import { fileUrl } from "./document.js";

const CLIP_KEY = "wiro_nb.clip";
const HIGHEST_PX = 400;
const WIDEST_PX = 520;
/** Smaller pictures are not blown up beyond this. */
const SMALL_PX = 280;

const clipHabits = () => recall(CLIP_KEY, { loop: true, muted: true, volume: 1 });

/** A clip that plays as the last one did. */
function clipNode(output, state, address, poster) {
  const habits = clipHabits();
  const clip = h("video", { src: address, poster, controls: true, playsinline: true, preload: poster ? "none" : "metadata",
    width: output.width, height: output.height, "aria-label": state.prompt.slice(0, 120) || `Clip of run ${state.run}` });
  Object.assign(clip, habits);
  clip.addEventListener("volumechange", () => remember(CLIP_KEY, { muted: clip.muted, volume: clip.volume }));
  return clip;
}

function loopSwitch(clips) {
  const node = button("Loop", { icon: "loop", kind: "wiro-btn-s wiro-btn-muted", onClick: () => {
    const loop = node.getAttribute("aria-pressed") !== "true";
    clips.forEach((clip) => { clip.loop = loop; });
    remember(CLIP_KEY, { loop });
    setAttribute(node, "aria-pressed", String(loop));
  } });
  setAttribute(node, "aria-pressed", String(clipHabits().loop));
  return node;
}

/** The node that shows one output, or null when the page cannot show its type. */
function viewOf(output, state, address, poster) {
  const [kind] = output.type.split("/");
  const alt = state.prompt.slice(0, 120) || `Output of run ${state.run}`;
  if (kind === "video" && address) return clipNode(output, state, address, poster);
  if (kind === "image" && address) return h("img", { src: address, alt, width: output.width, height: output.height });
  if (kind === "audio" && address) return h("audio", { src: address, controls: true, preload: "metadata", "aria-label": alt });
  return poster ? h("img", { src: poster, alt: `Poster of run ${state.run}`, width: output.width, height: output.height }) : null;
}

function boxWidth(output) {
  if (!output.width || !output.height) return "";
  const natural = Math.max(SMALL_PX, output.width);
  return `${Math.round(Math.min(WIDEST_PX, natural, (HIGHEST_PX * output.width) / output.height))}px`;
}

/** Puts the outputs of a state into the card's place for media; does nothing when they are there already. */
export async function drawResult(parts, state, model) {
  if (!hasChanged(parts.media, [state.outputs, state.poster])) return;
  const key = parts.media.shownKey;
  const poster = state.poster.startsWith("data:image/") ? state.poster : null;
  const addresses = await Promise.all(state.outputs.map((output) => fileUrl(model, output.path)));
  if (parts.media.shownKey !== key) return;
  parts.files.replaceChildren(...state.outputs.map((output, index) => fileNode(parts, output, addresses[index])).filter(Boolean));
  const shown = state.outputs.filter((output) => /^(video|image|audio)\//.test(output.type) && output.path);
  const views = shown.map((output, index) => viewOf(output, state, addresses[state.outputs.indexOf(output)], index === 0 ? poster : null)).filter(Boolean);
  const refresh = () => {
    const has = (kinds) => parts.media.querySelector(kinds) !== null;
    setShown(parts.media, has("video, img, audio"));
    setAttribute(parts.root, "data-media", has("video, img") ? "yes" : has("audio") && "sound");
  };
  for (const view of views) {
    // A file that was moved or deleted: the poster stays, or nothing.
    view.addEventListener("error", () => {
      view.replaceWith(...(view.poster ? [h("img", { src: view.poster, alt: `Poster of run ${state.run}` })] : []));
      refresh();
    });
  }
  const clips = views.filter((view) => view.tagName === "VIDEO");
  setAttribute(parts.media, "class", `wiro-vid${views.length > 1 ? " wiro-vid-many" : ""}`);
  parts.media.style.width = views.length === 1 ? boxWidth(shown[0]) : "";
  parts.media.replaceChildren(...views);
  setShown(parts.loopBox, clips.length > 0);
  parts.loopBox.replaceChildren(...(clips.length ? [loopSwitch(clips)] : []));
  refresh();
}

/** One output's file: its path, and what can be done with it; text stands as it is. */
function fileNode(parts, output, address) {
  const { path, problem } = output;
  if (output.text) return h("p", { class: "wiro-prewrap wiro-rawtext", dir: "auto", tabindex: "0" }, output.text);
  if (!path) return problem ? h("p", { class: "wiro-file" }, icon("file"), h("code", {}, output.name), h("span", {}, problem)) : null;
  const name = path.split("/").pop();
  const copy = button(`Copy the path of ${name}`, { icon: "copy", kind: SMALL_ICON, title: "Copy the path", onClick: async () => {
    const copied = await navigator.clipboard?.writeText(path).then(() => true, () => false);
    setText(parts.reply, copied ? "The path is copied." : path);
  } });
  const download = { class: `wiro-btn ${SMALL_ICON}`, href: address, download: name, "aria-label": `Download ${name}`, title: "Download" };
  return h("p", { class: "wiro-file" }, icon("file"),
    address ? h("a", { href: address, target: "_blank", rel: "noopener", title: "Open in a new tab" }, path) : h("code", {}, path),
    h("span", { class: "wiro-file-acts" }, copy, address && h("a", download, icon("download", true))),
    problem && h("span", {}, problem));
}
