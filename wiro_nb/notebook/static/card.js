/**
 * The run card. Nodes are made once and changed in place: no flicker, and focus stays where it is.
 * `state` is made by widgets/card.py; this file only draws it and lets the elapsed time tick.
 */
import { h, icon, button, makeState, setText, setShown, setAttribute, setAttributes, setMoneyText, clockText, copyText } from "./dom.js";
import { stopKeyPropagation } from "./key_propagation.js";
import { markWhenGone, saveOnlyStatic } from "./live_views.js";
import { makeAttachment } from "./results.js";
import { drawResult, drawSettings } from "./result.js";

const TICK_MS = 1000;
const DAY_MS = 86_400_000;

/** One stage of the stepper: marker, segment, name. */
function makeStage(name) {
  const fill = h("i", {});
  return { node: h("li", {}, fill, icon("done", true), h("span", {}, name)), fill };
}

/** Makes the parts of a card; each is filled by `draw`. */
function makeCard(act) {
  const parts = {
    state: makeState(),
    id: h("span", { class: "wiro-run-id" }),
    aside: h("span", { class: "wiro-small wiro-aside" }),
    actions: h("span", { class: "wiro-row wiro-acts-top" }),
    prompt: h("p", { class: "wiro-prompt", dir: "auto" }),
    stepper: h("ol", { class: "wiro-stepper" }),
    preview: h("img", { class: "wiro-preview", hidden: true }),
    stepperBox: null,
    numbers: h("span", { class: "wiro-numbers" }),
    elapsed: h("span", {}),
    after: h("span", {}),
    money: h("span", { class: "wiro-muted wiro-push" }),
    line: null,
    notes: h("div", { class: "wiro-notes" }),
    media: h("div", { class: "wiro-vid" }),
    facts: h("dl", { class: "wiro-facts" }),
    files: h("div", { class: "wiro-files" }),
    loopBox: h("div", { class: "wiro-loop", hidden: true }),
    settingsCount: h("span", { class: "wiro-muted" }),
    settingsBody: h("tbody", {}),
    below: h("span", { class: "wiro-row" }),
    logCount: h("span", { class: "wiro-muted" }),
    logText: h("pre", { class: "wiro-log", tabindex: "0", "aria-label": "Log" }),
    reply: h("p", { class: "wiro-small wiro-reply", role: "status" }),
    copyPlace: h("div", {}),
    live: h("p", { class: "wiro-vh", role: "status", "aria-live": "polite" }),
  };
  parts.stepperBox = h("div", { class: "wiro-stepper-box" }, parts.stepper);
  parts.line = h("div", { class: "wiro-line" }, parts.numbers, parts.elapsed, parts.after, parts.money);
  parts.log = h(
    "details",
    { class: "wiro-more" },
    h("summary", {}, h("span", { class: "wiro-chev" }, icon("chevron", true)), "Log ", parts.logCount),
    parts.logText,
  );
  parts.head = h(
    "div",
    { class: "wiro-run-h" },
    parts.state.node,
    parts.id,
    h("span", { class: "wiro-row wiro-push wiro-acts-top" }, parts.aside, parts.actions),
  );
  parts.settings = h("details", { class: "wiro-more wiro-settings", hidden: true },
    h("summary", {}, h("span", { class: "wiro-chev" }, icon("chevron", true)), "Settings ", parts.settingsCount),
    h("table", {}, parts.settingsBody));
  parts.text = h("div", { class: "wiro-run-text" }, parts.head, parts.prompt, parts.facts, parts.files, parts.settings);
  parts.acts = h("div", { class: "wiro-acts" }, parts.below, parts.log);
  parts.text.append(parts.preview, parts.stepperBox, parts.line, parts.notes, parts.acts, parts.reply, parts.copyPlace);
  parts.body = h("div", { class: "wiro-run-body" }, h("div", { class: "wiro-run-media" }, parts.media, parts.loopBox), parts.text);
  parts.root = h("article", { class: "wiro-card wiro-sec wiro-run", tabindex: "-1" }, parts.body, parts.live);
  parts.act = act;
  return parts;
}

/** Puts buttons for `actions` into a place, keeping those that stay; returns true when a focused one went. */
function drawActions(place, actions, act) {
  const old = new Map([...place.children].map((node) => [node.dataset.action, node]));
  const had = place.contains(document.activeElement) ? document.activeElement.dataset.action : null;
  const wanted = actions.map((action) => {
    const kept = old.get(action.id);
    const kind = `wiro-btn-s${action.muted ? " wiro-btn-muted" : ""}`;
    const node = kept ?? button(action.label, { icon: action.icon, kind, onClick: (event) => {
      if (event.currentTarget.getAttribute("aria-disabled") !== "true" && event.detail < 2) act(action.id);
    } });
    node.dataset.action = action.id;
    setMoneyText(node.querySelector("span"), action.label);
    setAttribute(node, "aria-disabled", action.off ? "true" : null);
    return node;
  });
  const same = wanted.length === place.children.length && wanted.every((node, index) => place.children[index] === node);
  if (!same) place.replaceChildren(...wanted);
  return had !== null && !actions.some((action) => action.id === had);
}

function drawStepper(parts, state) {
  const names = state.steps.map((stage) => stage.name).join("|");
  if (parts.stepNames !== names) {
    parts.stepNames = names;
    parts.stages = state.steps.map((stage) => makeStage(stage.name));
    parts.stepper.replaceChildren(...parts.stages.map((stage) => stage.node));
  }
  setShown(parts.stepperBox, state.steps.length > 0);
  setAttribute(parts.stepper, "class", `wiro-stepper${["failed", "lost"].includes(state.kind) ? " wiro-off" : ""}`);
  state.steps.forEach((stage, index) => {
    const waits = stage.state === "now" && state.percent === null;
    setAttribute(parts.stages[index].node, "class", `wiro-st-${stage.state || "todo"}${waits ? " wiro-st-wait" : ""}`);
    const here = ["now", "bad", "lost"].includes(stage.state);
    parts.stages[index].fill.style.width = here && state.percent !== null ? `${state.percent}%` : "";
  });
  const live = state.kind === "queued" || state.kind === "running" || state.kind === "lost";
  setAttributes(parts.stepperBox, {
    role: live ? "progressbar" : null, "aria-label": live ? `Run ${state.run}` : null, "aria-valuemin": live ? "0" : null, "aria-valuemax": live ? "100" : null,
    "aria-valuenow": live && state.percent !== null ? Math.round(state.percent) : null, "aria-valuetext": live ? state.valuetext : null,
  });
}

function drawNotes(parts, state) {
  const key = JSON.stringify(state.notes);
  if (parts.notesKey === key) return;
  parts.notesKey = key;
  parts.notes.replaceChildren(
    ...state.notes.map((note) => {
      const text = h("span", {});
      setMoneyText(text, note.text);
      return h("p", { class: "wiro-note" }, note.strong ? h("b", {}, note.strong) : null, note.strong ? " " : null, text,
        note.command ? " " : null, note.command ? h("code", {}, note.command) : null);
    }),
  );
}

function drawFacts(parts, state) {
  const key = JSON.stringify(state.facts);
  if (parts.factsKey === key) return;
  parts.factsKey = key;
  setShown(parts.facts, state.facts.length > 0);
  parts.facts.replaceChildren(
    ...state.facts.map(([label, value]) => {
      const text = h("dd", {});
      if (label === "sha256") text.append(h("code", {}, value));
      else setMoneyText(text, value);
      return h("div", {}, h("dt", {}, label), text);
    }),
  );
}

/** Percent, step and rate: the nodes stay, their texts change. */
function drawNumbers(parts, state) {
  while (parts.numbers.children.length > state.numbers.length) parts.numbers.lastChild.remove();
  state.numbers.forEach((text, index) => {
    const bold = index === 0 && state.percent !== null;
    const old = parts.numbers.children[index];
    if (old?.tagName === (bold ? "B" : "SPAN")) return setText(old, text);
    const node = h(bold ? "b" : "span", {}, text);
    return old ? old.replaceWith(node) : parts.numbers.append(node);
  });
}

/** "about 12 s left" or "about 3 min left"; "" once that time is over. */
function leftText(seconds) {
  if (seconds <= 0) return "";
  return seconds < 90 ? `about ${Math.max(1, Math.round(seconds))} s left` : `about ${Math.round(seconds / 60)} min left`;
}

/** Shows the time since the state was made, what is left of the run, and a silence that lasts too long. */
function drawTimes(parts, state, anchor) {
  const { elapsed, left_s: left, silent_after_s: limit } = state;
  const since = Math.max(0, performance.now() - anchor) / 1000;
  const passed = elapsed ? clockText(elapsed.seconds + (elapsed.ticking ? since : 0)) : "";
  setText(parts.elapsed, elapsed ? [elapsed.label, passed, elapsed.suffix].filter(Boolean).join(" ") : "");
  const isSilent = limit !== null && since >= limit;
  setText(parts.after, isSilent ? `no news for ${Math.floor(since)} s` : [left === null ? "" : leftText(left - since), ...state.after].filter(Boolean).join(", "));
  return isSilent;
}

async function draw(parts, state, anchor, model) {
  if (!state || !state.kind) return;
  setAttribute(parts.root, "aria-label", `Run ${state.run}, ${state.label.toLowerCase()}`);
  setAttribute(parts.root, "data-kind", state.kind);
  parts.state.draw(state);
  if (parts.idText !== state.model + state.run) {
    parts.idText = state.model + state.run;
    parts.id.replaceChildren(h("code", {}, state.model), " · run ", h("code", {}, state.run));
  }
  setMoneyText(parts.aside, state.aside);
  setText(parts.prompt, state.prompt);
  setShown(parts.prompt, Boolean(state.prompt));
  drawStepper(parts, state);
  drawNumbers(parts, state);
  drawTimes(parts, state, anchor);
  setMoneyText(parts.money, state.cost);
  setShown(parts.line, Boolean(state.numbers.length || state.elapsed || state.cost || parts.after.textContent));
  drawNotes(parts, state);
  drawFacts(parts, state);
  drawSettings(parts, state);
  const drawn = drawResult(parts, state, model);
  const lost = [drawActions(parts.actions, state.actions, parts.act), drawActions(parts.below, state.below, parts.act)];
  if (lost.some(Boolean)) parts.root.focus({ preventScroll: true });
  await drawn;
}

/** Shows the latest look at the clip, in place of the one before. */
function drawPreview(parts, preview, run) {
  if (!preview?.image?.startsWith("data:image/")) return;
  setAttribute(parts.preview, "width", preview.width);
  setAttribute(parts.preview, "height", preview.height);
  setAttribute(parts.preview, "alt", `Preview of run ${run}`);
  parts.preview.src = preview.image;
}

function drawLog(parts, lines, state) {
  const count = state?.log_count || lines.length;
  setShown(parts.log, count > 0);
  const failed = state?.kind === "failed" && lines.length;
  setText(parts.logCount, failed ? `last line: ${lines[lines.length - 1].slice(0, 120)}` : `${count} ${count === 1 ? "line" : "lines"}`);
  const atEnd = parts.logText.scrollTop + parts.logText.clientHeight >= parts.logText.scrollHeight - 4;
  setText(parts.logText, lines.join("\n"));
  if (atEnd) parts.logText.scrollTop = parts.logText.scrollHeight;
  setShown(parts.acts, state?.below?.length || count > 0);
}

/** What a card shows of a run whose kernel is gone: nothing moves, and no button promises anything. */
function goneState(state) {
  const off = (actions) => actions.map((action) => ({ ...action, off: true }));
  const dead = { ...state, actions: off(state.actions), below: off(state.below) };
  if (state.final) return dead;
  return { ...dead, kind: "lost", label: "Not followed", icon: "lost", variant: "warn", aside: "", elapsed: null, left_s: null, silent_after_s: null, notes: [] };
}

/** Says what happened to the kernel, whether the run goes on, and what to type. */
function showGone(place, state, gone) {
  const sent = ["queued", "running", "lost"].includes(state.kind);
  const start = gone === "restarted" ? "The kernel was restarted" : "The kernel is gone";
  const end = state.final ? ". To use this run again: " : `${sent ? "; the run goes on at the service" : ""}. `;
  const then = state.final ? ", then " : " takes it up again, then ";
  place.replaceChildren(start, end, h("code", {}, "%load_ext wiro_nb"), then, h("code", {}, `%wiro show ${state.run}`));
}

/** Announces a change of stage, the end and lost contact: never a percent. */
function announce(parts, state) {
  if (!state?.label || parts.announced === state.label) return;
  if (parts.announced !== undefined) setText(parts.live, `Run ${state.run}: ${state.label.toLowerCase()}`);
  parts.announced = state.label;
}

/** Milliseconds since the state was made, as far as both clocks agree. */
function ageMs(state) {
  const age = Date.now() - (state?.at_ms ?? Date.now());
  return age > 0 && age < DAY_MS ? age : 0;
}

function render({ model, el }) {
  const parts = makeCard((action) => model.send({ action }));
  let anchor = performance.now() - ageMs(model.get("state"));
  const redraw = () => {
    const was = parts.root.dataset.kind;
    const latest = model.get("state");
    const gone = latest?.kind ? model.get("gone") : null;
    const state = gone ? goneState(latest) : latest;
    if (gone) showGone(parts.reply, latest, gone);
    setAttribute(parts.root, "data-gone", gone);
    const drawn = draw(parts, state, anchor, model);
    drawLog(parts, model.get("log") ?? [], state);
    setShown(parts.preview, Boolean(parts.preview.src) && ["running", "lost"].includes(state?.kind));
    announce(parts, state);
    const isWatched = was && was !== state.kind && parts.root.contains(document.activeElement);
    if (isWatched) drawn.then(() => parts.root.scrollIntoView({ block: "nearest" }));
  };
  const onState = () => {
    anchor = performance.now();
    redraw();
  };
  const onPreview = () => {
    drawPreview(parts, model.get("preview"), model.get("state")?.run);
    redraw();
    // A notebook can save the state of its widgets: the picture does not stay in it. After the other views had it.
    queueMicrotask(() => model.set("preview", {}));
  };
  const onMessage = async (content) => {
    if (content?.type === "notice") setMoneyText(parts.reply, content.text);
    if (content?.type === "copy") {
      const copied = await copyText(String(content.text ?? ""), parts.copyPlace);
      setText(parts.reply, copied ? "Copied. Paste it into a cell." : "Press Ctrl+C or Cmd+C to copy.");
    }
  };
  parts.log.addEventListener("toggle", () => {
    if (parts.log.open) parts.logText.scrollTop = parts.logText.scrollHeight;
  });
  model.on("change:state", onState);
  model.on("change:log", redraw);
  model.on("change:preview", onPreview);
  model.on("msg:custom", onMessage);
  model.on("change:gone", redraw);
  const timer = setInterval(() => {
    const state = model.get("state");
    if (!state?.kind || state.final || model.get("gone")) return;
    if (drawTimes(parts, state, anchor)) announce(parts, { ...state, label: "No news" });
  }, TICK_MS);
  el.classList.add("wiro");
  const below = makeAttachment(model);
  el.replaceChildren(parts.root, below.node);
  stopKeyPropagation(parts.root);
  onPreview();
  return () => {
    clearInterval(timer);
    below.close();
  };
}

function initialize({ model }) {
  saveOnlyStatic(model);
  return markWhenGone(model);
}

export default { initialize, render };
