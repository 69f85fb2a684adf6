/** Takes an input from an earlier run: its clip or picture, or one frame of a clip. */
import { h, icon, button, setAttribute, setShown } from "./dom.js";

/** What can be taken of a run for an input: [label, text for the kernel]. */
function takes(run, media) {
  const source = `run:${run.id}`;
  if (run.kind !== "video") return [["Use", source]];
  const frames = [["First frame", `${source}#0`], ["Last frame", `${source}#-1`]];
  if (media === "image") return frames;
  return media === "video" ? [["Clip", source]] : [["Clip", source], ...frames];
}

function runNode(run, media, take) {
  const picture = run.thumb
    ? h("img", { src: run.thumb, alt: "", draggable: "false" })
    : icon(run.kind === "audio" ? "sound" : run.kind === "video" ? "film" : "file");
  return h("li", {},
    h("figure", { class: "wiro-thumb" }, picture),
    h("div", {},
      h("div", { class: "wiro-pick-t", dir: "auto" }, run.prompt || run.model),
      h("div", { class: "wiro-muted wiro-small" }, h("code", {}, run.id), ` · ${run.when}`),
      h("div", { class: "wiro-row" }, ...takes(run, media).map(([label, source]) =>
        button(label, { kind: "wiro-btn-s", title: `${label} of run ${run.id}`, onClick: () => take(source) })))));
}

/** @returns {{open: HTMLElement, panel: HTMLElement}} a button and the panel it opens */
export function makeRunPicker(model, plan, add) {
  const show = (isOpen) => {
    setShown(panel, isOpen);
    setAttribute(open, "aria-expanded", String(isOpen));
  };
  const say = (text) => panel.replaceChildren(h("p", { class: "wiro-hint", role: "status" }, text));
  const close = () => {
    show(false);
    open.focus();
  };
  const panel = h("div", { class: "wiro-pick", role: "group", "aria-label": `Earlier runs for ${plan.label}`, hidden: true, on: { keydown: (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  } } });
  const open = button("From a run", { icon: "film", kind: "wiro-btn-s", onClick: () => {
    if (!panel.hidden) return close();
    say("Reading the runs of this notebook");
    show(true);
    return model.send({ type: "recent" });
  } });
  const take = (source) => {
    add(source);
    close();
  };
  show(false);
  model.on("msg:custom", (content) => {
    if (content?.type !== "recent" || panel.hidden) return;
    if (!content.runs?.length) return say("No finished run of this notebook has a file that fits here. A run of another notebook: type run:ID in the box.");
    panel.replaceChildren(h("ul", { class: "wiro-items wiro-pick-list" }, ...content.runs.map((run) => runNode(run, plan.media, take))));
    panel.querySelector("button").focus();
  });
  return { open, panel };
}
