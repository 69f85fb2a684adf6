/**
 * The model browser: search, category chips, covers, price. The kernel sends the models and opens the form
 * of the one that is chosen; narrowing down, ordering and moving about happen here.
 */
import { h, icon, moneyLine, recall, remember, setText, setShown, setAttribute, setMoneyText, freshId } from "./dom.js";
import { stopKeyPropagation } from "./key_propagation.js";
import { markWhenGone, saveOnlyStatic } from "./live_views.js";

const FIRST_SHOWN = 8;
const CHIPS_SHOWN = 8;
const ASK_AFTER_MS = 350;
const COVERS_KEY = "wiro_nb.covers";

const SORTS = [
  ["listed", "as listed"],
  ["runs", "most run"],
  ["name", "name"],
  ["price", "lowest price"],
];

const ORDERS = {
  listed: () => 0,
  runs: (a, b) => (b.runs ?? -1) - (a.runs ?? -1),
  name: (a, b) => a.title.localeCompare(b.title),
  price: (a, b) => (a.usd ?? Infinity) - (b.usd ?? Infinity),
};

const plainCategory = (word) => word.replaceAll("-", " ").replace(/^./, (letter) => letter.toUpperCase());
const haystack = (model) => [model.slug, model.title, model.description, ...model.categories].join(" ").toLowerCase();

/** [category, how many models have it], the most frequent first. */
function countCategories(models) {
  const counts = new Map();
  for (const model of models) for (const word of new Set(model.categories)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
}

/** The picture of a model: one's own latest clip, else the service's cover, else words. */
function coverNode(model, remote) {
  const place = h("span", { class: "wiro-cover" });
  const without = () => place.replaceChildren(h("span", { class: "wiro-cover-no" }, "no cover"));
  const show = (node) => {
    node.addEventListener("error", without);
    place.replaceChildren(node);
  };
  if (model.thumb) show(h("img", { src: model.thumb, alt: "", draggable: "false" }));
  else if (remote && /^https?:/.test(model.cover) && /\.(mp4|webm)($|\?)/i.test(model.cover)) {
    without();
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      const clip = h("video", { src: `${model.cover}#t=0.5`, preload: "metadata", playsinline: true, tabindex: "-1", "aria-hidden": "true", disablepictureinpicture: true });
      clip.muted = true;
      show(clip);
    });
    seen.observe(place);
  } else if (remote && /^https?:/.test(model.cover)) {
    show(h("img", { src: model.cover, alt: "", loading: "lazy", referrerpolicy: "no-referrer", draggable: "false" }));
  } else without();
  return place;
}

function runsText(count) {
  if (!count) return "";
  return `${count.toLocaleString("en")} ${count === 1 ? "run" : "runs"}`;
}

function modelNode(model, { withCover, remote, active, choose }) {
  const word = model.categories.find((item) => item !== active);
  const price = h("b", { class: "wiro-num wiro-push" });
  setMoneyText(price, model.price);
  const node = h("button", { type: "button", class: "wiro-model", on: { click: () => choose(model, node) } },
    withCover ? coverNode(model, remote) : null,
    h("span", { class: "wiro-model-b" },
      h("span", { class: "wiro-model-t", dir: "auto" }, model.title),
      h("code", { class: "wiro-muted" }, model.slug),
      h("span", { class: "wiro-model-d", dir: "auto" }, model.description),
      h("span", { class: "wiro-row wiro-model-f" },
        word ? h("span", { class: "wiro-chip" }, word.replaceAll("-", " ")) : null,
        model.runs ? h("span", { class: "wiro-muted wiro-small wiro-num" }, runsText(model.runs)) : null,
        price)));
  node.dataset.slug = model.slug;
  return h("li", {}, node);
}

/** Arrow keys go from card to card; Home and End to the first and last. */
function moveAmongCards(event, list) {
  const cards = [...list.querySelectorAll("button")];
  const here = cards.indexOf(document.activeElement);
  if (here < 0) return;
  const top = cards[0].offsetTop;
  const columns = Math.max(1, cards.filter((card) => card.offsetTop === top).length);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  const next = { Home: 0, End: cards.length - 1 }[event.key] ?? (step === undefined ? -1 : here + step);
  if (step === undefined && next < 0) return;
  event.preventDefault();
  event.stopPropagation();
  cards[Math.max(0, Math.min(cards.length - 1, next))]?.focus();
}

function render({ model, el }) {
  let category = "";
  let limit = FIRST_SHOWN;
  let sort = (model.get("models") ?? []).some((item) => item.runs) ? "runs" : "listed";
  let covers = recall(COVERS_KEY, { shown: model.get("remote_covers") }).shown;
  let chosen = "";
  const searchId = freshId("q");
  const sortId = freshId("s");
  const search = h("input", { id: searchId, class: "wiro-in wiro-find", type: "search", placeholder: "Search by name, owner or what it does", "aria-label": "Search models", autocomplete: "off", spellcheck: "false" });
  search.value = model.get("query") ?? "";
  const order = h("select", { id: sortId, class: "wiro-in" }, ...SORTS.map(([value, label]) => h("option", { value }, label)));
  order.value = sort;
  const chips = h("div", { class: "wiro-filters", role: "group", "aria-label": "Category" });
  const tally = h("p", { class: "wiro-small wiro-muted", role: "status" });
  const list = h("ul", { class: "wiro-models" });
  const more = h("button", { type: "button", class: "wiro-btn" });
  const message = h("div", { class: "wiro-small wiro-announcement", role: "status" });
  const coverSwitch = h("button", { type: "button", class: "wiro-btn wiro-btn-muted", title: "Pictures come from the service's own address" }, "Covers");

  const found = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return (model.get("models") ?? []).filter((item) => words.every((word) => haystack(item).includes(word)));
  };
  const showGone = () => message.replaceChildren(h("span", { class: "wiro-err" }, "The kernel is gone. Run this cell again to choose a model."));
  const choose = (item, node) => {
    if (model.get("gone")) {
      showGone();
      return;
    }
    chosen = item.slug;
    for (const card of list.querySelectorAll("[aria-current]")) setAttribute(card, "aria-current", null);
    setAttribute(node, "aria-current", "true");
    message.replaceChildren("Opening the form of ", h("code", {}, item.slug));
    model.send({ type: "choose", slug: item.slug });
  };
  const drawChips = (models) => {
    const counts = countCategories(models);
    const shown = counts.slice(0, CHIPS_SHOWN);
    if (category && !shown.some(([word]) => word === category)) shown.push([category, counts.find(([word]) => word === category)?.[1] ?? 0]);
    const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.word : null;
    chips.replaceChildren(...[["", models.length], ...shown].map(([word, count]) => {
      const node = h("button", { type: "button", class: "wiro-filter", "aria-pressed": word === category ? "true" : "false", "data-word": word, on: { click: () => {
        category = word;
        limit = FIRST_SHOWN;
        draw();
      } } }, word ? plainCategory(word) : "All", h("span", { class: "wiro-num" }, String(count)));
      return node;
    }));
    if (focused !== null) [...chips.children].find((node) => node.dataset.word === focused)?.focus();
  };
  const draw = () => {
    const fitting = found();
    drawChips(fitting);
    const inside = category ? fitting.filter((item) => item.categories.includes(category)) : fitting;
    const sorted = [...inside].sort(ORDERS[sort]);
    const shown = sorted.slice(0, limit);
    const withCover = shown.some((item) => item.thumb || (covers && item.cover));
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.slug : null;
    list.replaceChildren(...shown.map((item) => modelNode(item, { withCover, remote: covers, active: category, choose })));
    for (const card of list.querySelectorAll("button")) {
      if (card.dataset.slug === chosen) setAttribute(card, "aria-current", "true");
      if (card.dataset.slug === focused) card.focus();
      setAttribute(card, "aria-disabled", model.get("gone") ? "true" : null);
    }
    setText(tally, inside.length ? `${shown.length} of ${inside.length} shown. ${model.get("free") ? "Everything is free here." : "Prices are per run at default settings."}` : "No models match. Try fewer words.");
    const left = sorted.length - shown.length;
    setShown(more, left > 0);
    setText(more, `Show ${Math.min(left, FIRST_SHOWN)} more`);
    setAttribute(coverSwitch, "aria-pressed", covers ? "true" : "false");
    setShown(coverSwitch, (model.get("models") ?? []).some((item) => item.cover));
  };

  let asking = null;
  search.addEventListener("input", () => {
    limit = FIRST_SHOWN;
    draw();
    clearTimeout(asking);
    if (!model.get("gone")) asking = setTimeout(() => model.send({ type: "search", query: search.value.trim() }), ASK_AFTER_MS);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      list.querySelector("button")?.focus();
    }
  });
  order.addEventListener("change", () => {
    sort = order.value;
    draw();
  });
  list.addEventListener("keydown", (event) => moveAmongCards(event, list));
  more.addEventListener("click", () => {
    const next = limit;
    limit += FIRST_SHOWN;
    draw();
    list.children[next]?.querySelector("button").focus();
  });
  coverSwitch.addEventListener("click", () => {
    covers = !covers;
    remember(COVERS_KEY, { shown: covers });
    draw();
  });
  const onMessage = (content) => {
    if (content?.type === "opened") {
      message.replaceChildren("Form below. To use it in its own cell: ", h("code", {}, `%wiro form ${content.slug}`));
    } else if (content?.type === "message") {
      message.replaceChildren(...content.lines.map((line) => moneyLine(line, { class: "wiro-announcement-line", dir: "auto" })));
    }
  };
  const onGone = () => {
    clearTimeout(asking);
    draw();
    showGone();
  };
  model.on("change:models", draw);
  model.on("msg:custom", onMessage);
  model.on("change:gone", onGone);
  message.replaceChildren("Choosing a card opens its form below");
  const head = h("div", { class: "wiro-sec" },
    h("div", { class: "wiro-find-row" },
      h("div", { class: "wiro-find-box" }, icon("search"), search),
      h("label", { class: "wiro-small", for: sortId }, "Sort"),
      h("div", { class: "wiro-sel" }, order, icon("down"))),
    chips);
  const body = h("div", { class: "wiro-sec" }, tally, list);
  const foot = h("div", { class: "wiro-sec wiro-foot wiro-row" }, more, coverSwitch, h("div", { class: "wiro-push wiro-announcement-box" }, message));
  el.classList.add("wiro");
  el.replaceChildren(h("div", { class: "wiro-card wiro-browser", role: "region", "aria-label": `Models, ${model.get("service")}` }, head, body, foot));
  stopKeyPropagation(el);
  if (model.get("gone")) onGone();
  else draw();
  return () => clearTimeout(asking);
}

function initialize({ model }) {
  saveOnlyStatic(model);
  return markWhenGone(model);
}

export default { initialize, render };
