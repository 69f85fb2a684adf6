/** A list of runs: a press on a row opens the run below it; runs in flight move, can be cancelled and can notify. */
import { button, h, icon, makeState, moneyNode, mount, setAttribute, setMoneyText, setProgress, setShown, setText, SMALL_ICON } from "./dom.js";
import { leaveStaticForm, saveOnlyStatic } from "./document.js";
import { makeAttachment } from "./results.js";

const MARK = "● ";

function makeRow(act) {
  const parts = {
    thumb: h("span", { class: "wiro-thumb" }), prompt: h("span", { class: "wiro-pick-t", dir: "auto" }), about: h("span", { class: "wiro-muted wiro-pick-t" }),
    state: makeState(true), when: h("span", { class: "wiro-muted" }),
    money: h("span", { class: "wiro-muted wiro-num" }), id: h("code", {}), note: h("span", { class: "wiro-small" }),
  };
  parts.bar = h("span", { class: "wiro-bar" }, h("i", {}));
  parts.cancel = button("Cancel run", { icon: "cross", kind: SMALL_ICON, onClick: () => act("cancel", parts.data.p) });
  parts.open = h("button", { type: "button", class: "wiro-list-open", on: { click: () => act("open", parts.data.p) } }, parts.thumb,
    h("span", { class: "wiro-list-text" }, parts.prompt, parts.about, parts.note),
    h("span", { class: "wiro-list-state" }, h("span", { class: "wiro-row" }, parts.state.node, parts.id), parts.bar, h("span", { class: "wiro-row" }, parts.when, parts.money)));
  parts.node = h("li", { class: "wiro-list-row" }, parts.open, parts.cancel);
  return parts;
}

function drawRow(parts, data) {
  const { percent } = data;
  parts.data = data;
  setText(parts.prompt, data.prompt || data.about);
  setText(parts.about, data.prompt ? data.about : "");
  setText(parts.note, data.note);
  parts.state.draw(data, (percent ?? null) === null ? data.label : `${data.label} ${Math.round(percent)}%`);
  setText(parts.id, data.run);
  setText(parts.when, data.when);
  setMoneyText(parts.money, data.money);
  setProgress(parts.bar, percent, `Run ${data.run}`);
  setShown(parts.cancel, data.cancel);
  setAttribute(parts.cancel, "aria-label", `Cancel run ${data.run}`);
  parts.thumb.replaceChildren(data.thumb && !data.note ? h("img", { src: data.thumb, alt: "" }) : icon(data.note ? "lost" : data.icon));
}

/** Notices at the end of runs: by the browser once it allows them, and by a mark on its tab while it is hidden. */
function makeNotifier(signal) {
  const node = button("Notify me when a run ends", { kind: "wiro-btn-s", onClick: async () => {
    const answer = await Notification.requestPermission();
    setText(node.lastElementChild, answer === "granted" ? "You will be notified" : "The browser does not allow notices");
  } });
  const unmark = () => {
    if (!document.hidden && document.title.startsWith(MARK)) document.title = document.title.slice(MARK.length);
  };
  document.addEventListener("visibilitychange", unmark, { signal });
  const onEnd = (row) => {
    if (document.hidden && !document.title.startsWith(MARK)) document.title = MARK + document.title;
    if (globalThis.Notification?.permission === "granted") new Notification(`Run ${row.run}: ${row.label.toLowerCase()}`, { body: row.prompt || row.about });
  };
  setShown(node, globalThis.Notification && Notification.permission === "default");
  return { node, onEnd };
}

function render({ model, el, signal }) {
  const act = (action, p) => model.send({ action, p: p ?? null });
  const rows = new Map();
  const list = h("ul", { class: "wiro-list" });
  const title = h("h3", { class: "wiro-title" });
  const lines = h("div", { class: "wiro-small wiro-muted" });
  const empty = h("p", { class: "wiro-small wiro-muted" }, "No runs in flight.");
  const notifier = model.get("head").notify ? makeNotifier(signal) : null;
  const draw = (data, isNew) => {
    const known = rows.get(data.p);
    const parts = known ?? makeRow(act);
    if (known && data.final && !known.data.final) notifier?.onEnd(data);
    rows.set(data.p, parts);
    drawRow(parts, data);
    if (!known) list[isNew ? "prepend" : "append"](parts.node);
    setShown(empty, false);
  };
  const drawHead = () => {
    setText(title, model.get("head").title);
    lines.replaceChildren(...model.get("head").lines.filter(Boolean).map((text) => moneyNode("div", text)));
  };
  model.on("change:head", drawHead);
  model.on("msg:custom", (content) => content?.type === "items" && content.items.forEach((data) => draw(data, true)));
  leaveStaticForm(model, signal);
  mount(el, h("section", { class: "wiro-card", "aria-label": model.get("head").title },
    h("div", { class: "wiro-sec wiro-head" }, h("div", {}, title, lines), notifier?.node), h("div", { class: "wiro-sec" }, empty, list)),
  makeAttachment(model, signal));
  drawHead();
  model.get("items").forEach((data) => draw(data, false));
  act("handshake");
}

export default { initialize: ({ model }) => saveOnlyStatic(model), render };
