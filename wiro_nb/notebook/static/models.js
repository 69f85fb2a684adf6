/**
 * The model browser: search, category chips, covers, price. The kernel sends the models and opens the form
 * of the one that is chosen; narrowing down, ordering and moving about happen here.
 */
import { h, button, freshId, icon, moneyNode, mount, recall, remember, setAttribute, setAttributes, setShown, setText } from "./dom.js";
import { markWhenGone, saveOnlyStatic } from "./document.js";

const FIRST_SHOWN = 8;
const CHIPS_SHOWN = 8;
const ASK_AFTER_MS = 350;
const COVERS_KEY = "wiro_nb.covers";

/** What models are sorted by: the words of the choice, and the comparison. */
const SORTS = {
  listed: ["as listed", () => 0],
  runs: ["most run", (a, b) => (b.runs ?? -1) - (a.runs ?? -1)],
  name: ["name", (a, b) => a.title.localeCompare(b.title)],
  price: ["lowest price", (a, b) => (a.usd ?? Infinity) - (b.usd ?? Infinity)],
};

const haystack = (model) => [model.slug, model.title, model.description, ...model.categories].join(" ").toLowerCase();

/** [category, how many models have it], the most frequent first. */
function countCategories(models) {
  const counts = new Map();
  for (const model of models) for (const word of new Set(model.categories)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
}

/** The picture of a model: one's own latest clip, else the service's cover, else none. */
function coverNode(model, remote) {
  const place = h("span", { class: "wiro-cover" });
  const show = (tag, attributes) => {
    const node = h(tag, { ...attributes, on: { error: () => node.remove() } });
    node.muted = true;
    place.replaceChildren(node);
  };
  if (model.thumb) show("img", { src: model.thumb, alt: "", draggable: "false" });
  else if (!remote || !/^https?:/.test(model.cover)) return place;
  else if (/\.(mp4|webm)($|\?)/i.test(model.cover)) {
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      show("video", { src: `${model.cover}#t=0.5`, preload: "metadata", playsinline: true, tabindex: "-1", "aria-hidden": "true", disablepictureinpicture: true });
    });
    seen.observe(place);
  } else show("img", { src: model.cover, alt: "", loading: "lazy", referrerpolicy: "no-referrer", draggable: "false" });
  return place;
}

function modelNode(model, { withCover, remote, active, current, isGone, choose }) {
  const words = model.categories.filter((item) => item !== active);
  const runs = model.runs ? `${model.runs.toLocaleString("en")} ${model.runs === 1 ? "run" : "runs"}` : "";
  return h("li", {}, h("button", { type: "button", class: "wiro-model", "data-slug": model.slug, "aria-current": current === model.slug && "true",
    "aria-disabled": isGone && "true", on: { click: () => choose(model) } },
  withCover && coverNode(model, remote),
  h("span", { class: "wiro-model-b" },
    h("span", { class: "wiro-model-t", dir: "auto" }, model.title),
    h("code", { class: "wiro-muted" }, model.slug),
    h("span", { class: "wiro-model-d", dir: "auto" }, model.description),
    h("span", { class: "wiro-row wiro-model-f" },
      ...words.map((word) => h("span", { class: "wiro-chip" }, word.replaceAll("-", " "))),
      runs && h("span", { class: "wiro-muted wiro-small wiro-num" }, runs),
      moneyNode("b", model.price, { class: "wiro-num wiro-push" })))));
}

/** Arrow keys go from card to card; Home and End to the first and last. */
function moveAmongCards(event, list) {
  const cards = [...list.querySelectorAll("button")];
  const here = cards.indexOf(document.activeElement);
  const columns = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -here, End: cards.length - 1 - here };
  if (here < 0 || !(event.key in steps)) return;
  event.preventDefault();
  cards[Math.max(0, Math.min(cards.length - 1, here + steps[event.key]))].focus();
}

function render({ model, el }) {
  const all = () => model.get("models") ?? [];
  let category = "";
  let limit = FIRST_SHOWN;
  let sort = all().some((item) => item.runs) ? "runs" : "listed";
  let covers = recall(COVERS_KEY, { shown: model.get("remote_covers") }).shown;
  let chosen = "";
  let asking = null;
  const sortId = freshId("s");
  const search = h("input", { class: "wiro-in", type: "search", placeholder: "Search by name, owner or what it does", "aria-label": "Search models", autocomplete: "off", spellcheck: "false" });
  search.value = model.get("query") ?? "";
  const order = h("select", { id: sortId, class: "wiro-in" }, ...Object.entries(SORTS).map(([value, [label]]) => h("option", { value }, label)));
  order.value = sort;
  const chips = h("div", { class: "wiro-filters", role: "group", "aria-label": "Category" });
  const tally = h("p", { class: "wiro-small wiro-muted", role: "status" });
  const list = h("ul", { class: "wiro-models", on: { keydown: (event) => moveAmongCards(event, list) } });
  const message = h("div", { class: "wiro-small wiro-push wiro-announcement", role: "status" }, "Choosing a card opens its form below");
  const more = button("", { onClick: () => {
    const next = limit;
    limit += FIRST_SHOWN;
    draw();
    list.children[next]?.querySelector("button").focus();
  } });
  const coverSwitch = button("Covers", { kind: "wiro-btn-muted", title: "Pictures come from the service's own address", onClick: () => {
    covers = !covers;
    remember(COVERS_KEY, { shown: covers });
    draw();
  } });
  const showGone = () => message.replaceChildren(h("span", { class: "wiro-err" }, "The kernel is gone. Run this cell again to choose a model."));
  const choose = ({ slug }) => {
    if (model.get("gone")) return showGone();
    chosen = slug;
    for (const card of list.querySelectorAll("button")) setAttribute(card, "aria-current", card.dataset.slug === slug && "true");
    message.replaceChildren("Opening the form of ", h("code", {}, slug));
    return model.send({ action: "choose", slug });
  };
  const drawChips = (models) => {
    const counts = countCategories(models);
    const shown = [["", models.length], ...counts.slice(0, CHIPS_SHOWN)];
    if (!shown.some(([word]) => word === category)) shown.push(counts.find(([word]) => word === category) ?? [category, 0]);
    const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.word : null;
    chips.replaceChildren(...shown.map(([word, count]) => h("button", { type: "button", class: "wiro-filter", "aria-pressed": String(word === category), "data-word": word, on: { click: () => {
      category = word;
      limit = FIRST_SHOWN;
      draw();
    } } }, word ? word[0].toUpperCase() + word.slice(1).replaceAll("-", " ") : "All", h("span", { class: "wiro-num" }, String(count)))));
    [...chips.children].find((node) => node.dataset.word === focused)?.focus();
  };
  const draw = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/);
    const fitting = all().filter((item) => words.every((word) => haystack(item).includes(word)));
    drawChips(fitting);
    const inside = category ? fitting.filter((item) => item.categories.includes(category)) : fitting;
    const isNamed = (item) => item.categories.includes(words.join("-"));
    const shown = [...inside].sort((a, b) => isNamed(b) - isNamed(a) || SORTS[sort][1](a, b)).slice(0, limit);
    const withCover = shown.some((item) => item.thumb || (covers && item.cover));
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.slug : null;
    list.replaceChildren(...shown.map((item) => modelNode(item, { withCover, remote: covers, active: category, current: chosen, isGone: model.get("gone"), choose })));
    [...list.querySelectorAll("button")].find((card) => card.dataset.slug === focused)?.focus();
    const prices = model.get("free") ? "Everything is free here." : "Prices are per run at default settings.";
    setText(tally, inside.length ? `${shown.length} of ${inside.length} shown. ${prices}` : "No models match. Try fewer words.");
    const left = inside.length - shown.length;
    setShown(more, left > 0);
    setText(more.lastElementChild, `Show ${Math.min(left, FIRST_SHOWN)} more`);
    setAttributes(coverSwitch, { "aria-pressed": String(covers), hidden: !all().some((item) => item.cover) });
  };
  search.addEventListener("input", () => {
    limit = FIRST_SHOWN;
    draw();
    clearTimeout(asking);
    if (!model.get("gone")) asking = setTimeout(() => model.send({ action: "search", query: search.value.trim() }), ASK_AFTER_MS);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    list.querySelector("button")?.focus();
  });
  order.addEventListener("change", () => {
    sort = order.value;
    draw();
  });
  const onGone = () => {
    clearTimeout(asking);
    draw();
    showGone();
  };
  model.on("change:models", draw);
  model.on("change:gone", onGone);
  model.on("msg:custom", (content) => {
    if (content?.type === "opened") message.replaceChildren("Form below. To use it in its own cell: ", h("code", {}, `%wiro form ${content.slug}`));
    else if (content?.type === "message") message.replaceChildren(...content.lines.map((line) => moneyNode("div", line, { dir: "auto" })));
  });
  mount(el, h("div", { class: "wiro-card wiro-browser", role: "region", "aria-label": `Models, ${model.get("service")}` },
    h("div", { class: "wiro-sec" },
      h("div", { class: "wiro-find-row" },
        h("div", { class: "wiro-find-box" }, icon("search"), search),
        h("label", { class: "wiro-small", for: sortId }, "Sort"),
        h("div", { class: "wiro-sel" }, order, icon("down"))),
      chips),
    h("div", { class: "wiro-sec" }, tally, list),
    h("div", { class: "wiro-sec wiro-foot wiro-row" }, more, coverSwitch, message)));
  if (model.get("gone")) onGone();
  else draw();
  return () => clearTimeout(asking);
}

function initialize({ model, signal }) {
  saveOnlyStatic(model);
  markWhenGone(model, signal);
}

export default { initialize, render };
