/** Views below others: what a button opened, and the runs of a form, the newest open and earlier ones as thumbnails. */
import { h, icon, setText, setShown, setAttribute } from "./dom.js";

/** True when the focus is in `node` or around it: a user is at work here, not in another cell. */
export const hasFocusNear = (node) => node.contains(document.activeElement) || Boolean(document.activeElement?.contains(node));

/** Calls `act` with the node that `find` returns, once it stands in the page: a view is drawn some time after it was made. */
export function whenShown(find, act, frames = 60) {
  requestAnimationFrame(() => {
    const node = find();
    if (node?.isConnected) act(node);
    else if (frames) whenShown(find, act, frames - 1);
  });
}

/** Scrolls the node that `find` returns into view and gives it the focus, unless something in it took it already. */
const reveal = (find) => whenShown(find, (node) => {
  if (node.contains(document.activeElement)) return;
  node.scrollIntoView({ block: "nearest" });
  node.focus({ preventScroll: true });
});

/** Returns a function that shows the view of a widget, named by its model id, in `place`; the latest call wins. */
function makeViewer(model, place, signal) {
  let [view, latest] = [null, null];
  signal.addEventListener("abort", () => {
    latest = null;
    view?.remove();
  });
  return async (id) => {
    latest = id;
    const fresh = id ? await model.widget_manager.create_view(await model.widget_manager.get_model(id)) : null;
    if (latest !== id) return fresh?.remove();
    view?.remove();
    view = fresh;
    return place.replaceChildren(...(view ? [view.el] : []));
  };
}

/** The place below a view for the widget that its trait `attached` names: a form, a comparison, another run. */
export function makeAttachment(model, signal) {
  const node = h("div", { class: "wiro-attached", tabindex: "-1", role: "group", "aria-label": "Opened below", hidden: true });
  const show = makeViewer(model, node, signal);
  const update = () => show(model.get("attached")).then(() => setShown(node, node.firstChild));
  model.on("change:attached", () => update().then(() => reveal(() => node.querySelector(".wiro-card") && node)));
  update();
  return node;
}

/** A small picture of a run with its id and state; it follows the run. */
function makeThumb(card, open) {
  const figure = h("span", { class: "wiro-thumb" });
  const word = h("span", { class: "wiro-muted" });
  const node = h("button", { type: "button", class: "wiro-earlier-b", on: { click: open } }, figure,
    h("span", {}, h("code", {}, card.get("state").run), " ", word));
  const draw = () => {
    const state = card.get("state");
    setText(word, state.label);
    setAttribute(node, "title", state.prompt || null);
    figure.replaceChildren(state.poster ? h("img", { src: state.poster, alt: "" }) : icon(state.icon));
  };
  card.on("change:state", draw);
  draw();
  return h("li", {}, node);
}

/**
 * @param {any} model a form's model: its trait `cards` lists the cards, newest first
 * @param {{host: any, signal: AbortSignal}} view of the form
 * @param {(card: any) => void} onNewest called with the newest card's model
 */
export function makeResults(model, { host, signal }, onNewest) {
  const place = h("div", {});
  const strip = h("ul", { class: "wiro-earlier", "aria-label": "Earlier runs" });
  const node = h("div", { class: "wiro-results", hidden: true }, place, strip);
  const show = makeViewer(model, place, signal);
  let thumbs = new Map();
  let [opened, newest, latest] = ["", "", 0];
  const showOpened = () => reveal(() => place.querySelector(".wiro-run"));
  const open = async (id) => {
    if (opened === id) return;
    opened = id;
    await show(id);
    strip.replaceChildren(...[...thumbs].filter(([other]) => other !== opened).map(([, thumb]) => thumb));
  };
  const update = async () => {
    const turn = (latest += 1);
    const ids = model.get("cards") ?? [];
    const cards = await Promise.all(ids.map((id) => host.getModel(`anywidget:${id}`)));
    if (turn !== latest) return;
    thumbs = new Map(ids.map((id, index) => [id, thumbs.get(id) ?? makeThumb(cards[index], () => open(id).then(showOpened))]));
    setShown(node, ids.length > 0);
    if (!ids.length || ids[0] === newest) return;
    newest = ids[0];
    onNewest(cards[0]);
    await open(newest);
    const isAsked = turn > 1 ? hasFocusNear(node.parentNode ?? node) : node.closest(".wiro-attached") === document.activeElement;
    if (isAsked) showOpened();
  };
  return { node, update, showOpened: () => open(newest).then(showOpened) };
}
