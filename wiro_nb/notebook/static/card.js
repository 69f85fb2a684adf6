/**
 * The run card. Nodes are made once and changed in place: no flicker, and focus stays where it is.
 * `state` is made by widgets/card.py; this file only draws it and lets the elapsed time tick.
 */
import { h, icon, button, disclosure, drawList, hasChanged, makeState, moneyNode, mount, setText, setShown, setAttribute, setAttributes, setMoneyText, setProgressRole, clockText, copyText, SMALL_ICON } from "./dom.js";
import { markWhenGone, saveOnlyStatic } from "./document.js";
import { makeAttachment } from "./results.js";
import { drawResult } from "./result.js";

const TICK_MS = 1000;
const DAY_MS = 86_400_000;

/** Makes the parts of a card; each is filled by `draw`. */
function makeCard(act) {
  const span = (kind) => h("span", { class: kind });
  const parts = {
    act, live: h("p", { class: "wiro-vh", role: "status", "aria-live": "polite" }),
    state: makeState(), id: span("wiro-run-id"), aside: span("wiro-small wiro-aside"), actions: span("wiro-row wiro-acts-top"),
    prompt: h("p", { class: "wiro-prompt", dir: "auto" }), facts: h("dl", { class: "wiro-facts" }), files: h("div", { class: "wiro-files" }),
    media: h("div", { class: "wiro-vid" }), loopBox: h("div", { class: "wiro-loop", hidden: true }),
    settingsCount: span("wiro-muted"), settingsBody: h("tbody"),
    preview: h("img", { class: "wiro-preview", hidden: true }), stepper: h("ol", { class: "wiro-stepper" }),
    numbers: span("wiro-numbers"), elapsed: h("span"), after: h("span"), money: span("wiro-muted wiro-push"),
    notes: h("div", { class: "wiro-notes" }), below: span("wiro-row"),
    logCount: span("wiro-muted"), logText: h("pre", { class: "wiro-log", tabindex: "0", "aria-label": "Log" }),
    reply: h("p", { class: "wiro-small wiro-reply", role: "status" }), copyPlace: h("div"),
  };
  parts.stepperBox = h("div", {}, parts.stepper);
  parts.line = h("div", { class: "wiro-line" }, parts.numbers, parts.elapsed, parts.after, parts.money);
  parts.log = disclosure("Log ", parts.logCount, parts.logText);
  parts.settings = disclosure("Settings ", parts.settingsCount, h("table", { class: "wiro-diff wiro-settings" }, parts.settingsBody));
  parts.acts = h("div", { class: "wiro-acts" }, parts.below, parts.log);
  const head = h("div", { class: "wiro-run-h" }, parts.state.node, parts.id, h("span", { class: "wiro-row wiro-push wiro-acts-top" }, parts.aside, parts.actions));
  const text = h("div", { class: "wiro-run-text" }, head, parts.prompt, parts.facts, parts.files, parts.settings,
    parts.preview, parts.stepperBox, parts.line, parts.notes, parts.acts, parts.reply, parts.copyPlace);
  const body = h("div", { class: "wiro-run-body" }, h("div", { class: "wiro-run-media" }, parts.media, parts.loopBox), text);
  parts.root = h("article", { class: "wiro-card wiro-sec wiro-run", tabindex: "-1" }, body, parts.live);
  return parts;
}

/** Puts buttons for `actions` into a place, keeping those that stay; returns true when a focused one went. */
function drawActions(place, actions, act) {
  const old = new Map([...place.children].map((node) => [node.dataset.action, node]));
  const had = place.contains(document.activeElement) ? document.activeElement.dataset.action : undefined;
  const wanted = actions.map((action) => {
    const kind = action.id === "star" ? `${SMALL_ICON} wiro-star` : `wiro-btn-s${action.muted ? " wiro-btn-muted" : ""}`;
    const node = old.get(action.id) ?? button(action.label, { icon: action.icon, kind, onClick: (event) => {
      if (node.ariaDisabled !== "true" && event.detail < 2) act(action.id);
    } });
    node.dataset.action = action.id;
    if (action.id === "star") setAttributes(node, { "aria-label": action.label, title: action.label });
    else setMoneyText(node.querySelector("span"), action.label);
    setAttributes(node, { "aria-disabled": action.off && "true", "aria-pressed": action.pressed?.toString() });
    return node;
  });
  if (wanted.length !== old.size || wanted.some((node, index) => place.children[index] !== node)) place.replaceChildren(...wanted);
  return had !== undefined && !actions.some((action) => action.id === had);
}

function drawStepper(parts, state) {
  const { stepper, stepperBox } = parts;
  if (hasChanged(stepper, state.steps.map((stage) => stage.name))) {
    stepper.replaceChildren(...state.steps.map((stage) => h("li", {}, h("i"), icon("done", true), h("span", {}, stage.name))));
  }
  setShown(stepperBox, state.steps.length > 0);
  setAttribute(stepper, "class", `wiro-stepper${["failed", "lost"].includes(state.kind) ? " wiro-off" : ""}`);
  state.steps.forEach((stage, index) => {
    const node = stepper.children[index];
    const waits = stage.state === "now" && state.percent === null;
    setAttribute(node, "class", `wiro-st-${stage.state || "todo"}${waits ? " wiro-st-wait" : ""}`);
    const isHere = ["now", "bad", "lost"].includes(stage.state);
    node.firstElementChild.style.width = isHere && state.percent !== null ? `${state.percent}%` : "";
  });
  setProgressRole(stepperBox, ["queued", "running", "lost"].includes(state.kind) ? state.percent : undefined, `Run ${state.run}`, state.valuetext);
}

function noteNode(note) {
  return h("p", { class: "wiro-note" }, note.strong && h("b", {}, note.strong), note.strong && " ", moneyNode("span", note.text),
    note.command && " ", note.command && h("code", {}, note.command));
}

function factNode([label, value]) {
  return h("div", {}, h("dt", {}, label), label === "sha256" ? h("dd", {}, h("code", {}, value)) : moneyNode("dd", value));
}

function settingNode([name, value]) {
  return h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), h("td", { dir: "auto", class: value === "" && "wiro-muted" }, value === "" ? "empty" : value));
}

/** Percent, step and rate: the nodes stay, their texts change. */
function drawNumbers(parts, state) {
  if (hasChanged(parts.numbers, [state.numbers.length, state.percent === null])) {
    parts.numbers.replaceChildren(...state.numbers.map((_text, index) => h(index === 0 && state.percent !== null ? "b" : "span")));
  }
  state.numbers.forEach((text, index) => setText(parts.numbers.children[index], text));
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
  if (!state?.kind) return;
  setAttributes(parts.root, { "aria-label": `Run ${state.run}, ${state.label.toLowerCase()}`, "data-kind": state.kind });
  parts.state.draw(state);
  if (hasChanged(parts.id, [state.model, state.run])) parts.id.replaceChildren(h("code", {}, state.model), " · run ", h("code", {}, state.run));
  setMoneyText(parts.aside, state.aside);
  setText(parts.prompt, state.prompt);
  setShown(parts.prompt, state.prompt);
  drawStepper(parts, state);
  drawNumbers(parts, state);
  drawTimes(parts, state, anchor);
  setMoneyText(parts.money, state.cost);
  setShown(parts.line, state.numbers.length || state.elapsed || state.cost || parts.after.textContent);
  drawList(parts.notes, state.notes, noteNode);
  drawList(parts.facts, state.facts, factNode);
  drawList(parts.settingsBody, state.settings, settingNode);
  setShown(parts.settings, state.settings.length);
  setText(parts.settingsCount, state.settings.length);
  const lost = [drawActions(parts.actions, state.actions, parts.act), drawActions(parts.below, state.below, parts.act)];
  if (lost.some(Boolean)) parts.root.focus({ preventScroll: true });
  await drawResult(parts, state, model);
}

function drawLog(parts, lines, state) {
  const count = state?.log_count || lines.length;
  setShown(parts.log, count > 0);
  const hasFailed = state?.kind === "failed" && lines.length;
  setText(parts.logCount, hasFailed ? `last line: ${lines.at(-1).slice(0, 120)}` : `${count} ${count === 1 ? "line" : "lines"}`);
  const isAtEnd = parts.logText.scrollTop + parts.logText.clientHeight >= parts.logText.scrollHeight - 4;
  setText(parts.logText, lines.join("\n"));
  if (isAtEnd) parts.logText.scrollTop = parts.logText.scrollHeight;
  setShown(parts.acts, state?.below?.length || count > 0);
}

/** What a card shows of a run whose kernel is gone: nothing moves, and no button promises anything. */
function goneState(state) {
  const off = (actions) => actions.map((action) => ({ ...action, off: true }));
  const dead = { ...state, actions: off(state.actions), below: off(state.below) };
  if (state.final) return dead;
  return { ...dead, kind: "lost", label: "Disconnected", icon: "lost", variant: "warn", aside: "", elapsed: null, left_s: null, silent_after_s: null, notes: [] };
}

/** Says what happened to the kernel, whether the run continues, and what to type. */
function showGone(place, state, gone) {
  const sent = ["queued", "running", "lost"].includes(state.kind);
  const start = gone === "restarted" ? "The kernel was restarted" : "The kernel is gone";
  const end = state.final ? ". To use this run again: " : `${sent ? "; the run continues at the service" : ""}. To follow it again: `;
  place.replaceChildren(start, end, h("code", {}, "%load_ext wiro_nb"), ", then ", h("code", {}, `%wiro show ${state.run}`));
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

function render({ model, el, signal }) {
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
  const onPreview = () => {
    const { image, width, height } = model.get("preview") ?? {};
    if (image?.startsWith("data:image/")) setAttributes(parts.preview, { src: image, width, height, alt: `Preview of run ${model.get("state").run}` });
    redraw();
    // A notebook can save the state of its widgets: the picture does not stay in it. After the other views had it.
    queueMicrotask(() => model.set("preview", {}));
  };
  parts.log.addEventListener("toggle", () => {
    if (parts.log.open) parts.logText.scrollTop = parts.logText.scrollHeight;
  });
  model.on("change:state", () => {
    anchor = performance.now();
    redraw();
  });
  model.on("change:log", redraw);
  model.on("change:gone", redraw);
  model.on("change:preview", onPreview);
  model.on("msg:custom", async (content) => {
    if (content?.type === "notice") setMoneyText(parts.reply, content.text);
    if (content?.type === "copy") setText(parts.reply, (await copyText(content.text, parts.copyPlace)) ? "Copied. Paste it into a cell." : "Press Ctrl+C or Cmd+C to copy.");
  });
  const timer = setInterval(() => {
    const state = model.get("state");
    if (!state?.kind || state.final || model.get("gone")) return;
    if (drawTimes(parts, state, anchor)) announce(parts, { ...state, label: "No news" });
  }, TICK_MS);
  mount(el, parts.root, makeAttachment(model, signal));
  onPreview();
  return () => clearInterval(timer);
}

function initialize({ model, signal }) {
  saveOnlyStatic(model);
  markWhenGone(model, signal);
}

export default { initialize, render };
