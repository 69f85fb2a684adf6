/** The runs of a form: the newest one open, earlier ones as a strip of thumbnails that open with a press. */
import { h, icon, setText, setShown, setAttribute } from "./dom.js";

/** True when the focus is in `node` or around it: a person is at work here, not in another cell. */
export const hasFocusNear = (node) => node.contains(document.activeElement) || Boolean(document.activeElement?.contains(node));

/** Calls `act` once a node stands in the page. */
export function whenShown(node, act, frames = 60) {
  requestAnimationFrame(() => (node.isConnected ? act() : frames && whenShown(node, act, frames - 1)));
}

/** Scrolls a node into view and gives it the focus, unless something in it took it already. */
export const reveal = (node) => whenShown(node, () => {
  if (node.contains(document.activeElement)) return;
  node.scrollIntoView({ block: "nearest" });
  node.focus({ preventScroll: true });
});

/**
 * The place below a view for the widget that its trait `attached` names: a form, a comparison, another run.
 * @param {any} model
 */
export function makeAttachment(model) {
  const node = h("div", { class: "wiro-attached", tabindex: "-1", role: "group", "aria-label": "Opened below", hidden: true });
  let [view, turn] = [null, 0];
  const update = async () => {
    const mine = (turn += 1);
    const id = model.get("attached");
    const fresh = id ? await model.widget_manager.create_view(await model.widget_manager.get_model(id)) : null;
    if (mine !== turn) return fresh?.remove();
    view?.remove();
    view = fresh;
    node.replaceChildren(...(view ? [view.el] : []));
    setShown(node, view);
  };
  const onChange = () => update().then(() => view && reveal(node));
  model.on("change:attached", onChange);
  update();
  return { node, close: () => {
    turn += 1;
    model.off("change:attached", onChange);
    view?.remove();
  } };
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
  return { card, node: h("li", {}, node), dispose: () => card.off("change:state", draw) };
}

/**
 * @param {any} model a form's model: its trait `cards` lists the cards, newest first
 * @param {(card: any) => void} onNewest called with the newest card's model
 */
export function makeResults(model, onNewest) {
  const place = h("div", {});
  const strip = h("ul", { class: "wiro-earlier", "aria-label": "Earlier runs" });
  const node = h("div", { class: "wiro-results", hidden: true }, place, strip);
  const thumbs = new Map();
  let [opened, newest, view, latest] = ["", "", null, 0];
  const showOpened = () => reveal(place.querySelector(".wiro-run") ?? place);
  const open = async (id) => {
    if (opened === id) return;
    opened = id;
    const fresh = await model.widget_manager.create_view(thumbs.get(id).card);
    if (opened !== id) return fresh.remove();
    view?.remove();
    view = fresh;
    place.replaceChildren(view.el);
    strip.replaceChildren(...[...thumbs].filter(([other]) => other !== id).map(([, thumb]) => thumb.node));
  };
  const update = async () => {
    const turn = (latest += 1);
    const ids = model.get("cards") ?? [];
    const cards = await Promise.all(ids.map((id) => model.widget_manager.get_model(id)));
    if (turn !== latest) return;
    const old = new Map(thumbs);
    thumbs.clear();
    ids.forEach((id, index) => thumbs.set(id, old.get(id) ?? makeThumb(cards[index], () => open(id).then(showOpened))));
    for (const [id, thumb] of old) if (!thumbs.has(id)) thumb.dispose();
    setShown(node, ids.length > 0);
    if (!ids.length || ids[0] === newest) return;
    newest = ids[0];
    onNewest(cards[0]);
    await open(newest);
    const here = document.activeElement;
    const isAsked = turn > 1 ? hasFocusNear(node.parentNode ?? node) : here?.classList.contains("wiro-attached") && here.contains(node);
    if (isAsked) showOpened();
  };
  const close = () => {
    view?.remove();
    thumbs.forEach((thumb) => thumb.dispose());
  };
  return { node, update, showOpened: () => open(newest).then(showOpened), close };
}
