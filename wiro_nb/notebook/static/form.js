/**
 * The form: puts head, fields, folded part and footer together. The kernel decides whether values fit and
 * what they cost; this file shows it where it belongs.
 */
import { h, icon, copyText, disclosure, freshId, hasChanged, mount, put, setText, setAttribute, setMoneyText } from "./dom.js";
import { markWhenGone, saveOnlyStatic } from "./document.js";
import { drawField, groupNodes, isDefault } from "./fieldset.js";
import { makeFooter } from "./footer.js";
import { registerForm } from "./form_registry.js";
import { hasFocusNear, makeResults, whenShown } from "./results.js";

const REDRAWN_WITHIN_MS = 1000;
const GROUP_HEADS_FROM = 9;
const NAMES_SHOWN = 12;

function badgeNode(name) {
  const isFree = name === "sandbox" || name === "local";
  const label = { local: "on this machine", cloud: "Wiro cloud" }[name] ?? name;
  return h("span", { class: `wiro-badge wiro-badge-${isFree ? "sandbox" : "cloud"}` }, icon(isFree ? "flask" : "cloud", true), label);
}

function headNode(plan, titleId, price) {
  return h("div", { class: "wiro-sec wiro-head" },
    h("div", {},
      h("div", { class: "wiro-row" }, h("h3", { class: "wiro-title", id: titleId, dir: "auto" }, plan.title), badgeNode(plan.badge)),
      h("p", {}, h("span", { class: "wiro-muted" }, "by ", plan.owner, plan.description ? " · " : ""), h("span", { dir: "auto" }, plan.description)),
      plan.categories.length ? h("ul", { class: "wiro-chips", "aria-label": "Categories" }, ...plan.categories.map((word) => h("li", { class: "wiro-chip" }, word.replaceAll("-", " ")))) : null,
      ...plan.notes.map((note) => h("p", { class: "wiro-hint" }, note))),
    price);
}

/** The first names, and how many more there are. */
function nameList(names) {
  return names.length > NAMES_SHOWN + 1 ? `${names.slice(0, NAMES_SHOWN).join(", ")} and ${names.length - NAMES_SHOWN} more` : names.join(", ");
}

/** The folded part; its summary names what inside still stands at its default. */
function moreNode(plans, fields) {
  const names = h("span", { class: "wiro-muted" });
  const node = disclosure("More ", names, ...groupNodes(plans, fields, plans.length >= GROUP_HEADS_FROM));
  const show = () => {
    const [still, changed] = [true, false].map((isWanted) => plans.filter((plan) => isDefault(plan, fields.get(plan.id).model.get("value")) === isWanted)
      .map(({ label }) => (label === label.toUpperCase() ? label : label.toLowerCase())));
    if (changed.length === 0) setText(names, `${nameList(still)}; all at default`);
    else setText(names, `changed: ${nameList(changed)}${still.length ? `; at default: ${nameList(still)}` : ""}`);
  };
  return { node, show };
}

/** Everything one rendered form needs; also used by fields shown on their own. */
class FormView {
  constructor(model, models, signal) {
    this.plan = model.get("plan");
    Object.assign(this, { model, models, signal });
    this.fields = new Map();
    this.promptPlan = this.plan.fields.find((plan) => plan.kind === "prompt");
  }

  addToPrompt(word) {
    const model = this.models.get(this.promptPlan.id);
    const text = String(model.get("value") ?? "");
    if (text.split(/,\s*/).includes(word)) return;
    put(model, "value", text.trim() ? `${text.trimEnd().replace(/,$/, "")}, ${word}` : word);
  }

  /** "81 frames make 5.1 s" at the frame rate; null for other fields. */
  derivedHint(plan) {
    if (!/^(fps|frame_?rate)$/i.test(plan.id)) return null;
    const frames = this.plan.fields.find((item) => /^(num_?frames|frame_?num(ber)?|frames)$/i.test(item.id));
    const count = Number(frames && this.models.get(frames.id).get("value"));
    const rate = Number(this.models.get(plan.id).get("value"));
    return count > 0 && rate > 0 ? `${count} frames make ${(count / rate).toFixed(1)} s` : "";
  }

  /**
   * What stands in the fields now, and the paths typed but not sent: the kernel decides by these alone. Files that
   * the kernel was asked to take and has not answered for are its own to know: it reads the question first.
   */
  values() {
    this.fields.forEach((field) => field.flush());
    const typed = [...this.fields].map(([name, field]) => [name, field.takeAddress()]).filter(([, text]) => text);
    const settled = [...this.fields].filter(([, field]) => !field.isAhead());
    return {
      values: Object.fromEntries(settled.map(([name, field]) => [name, field.model.get("value")])),
      addresses: Object.fromEntries(typed),
    };
  }

  draw(name) {
    const plan = this.plan.fields.find((item) => item.id === name);
    const field = drawField(this, plan, this.models.get(name));
    const showProblem = () => field.showProblem((this.model.get("problems") ?? {})[name]);
    this.fields.set(name, field);
    this.model.on("change:problems", showProblem);
    this.signal.addEventListener("abort", () => this.model.off("change:problems", showProblem));
    showProblem();
    return field;
  }
}

/** The view of a form with the models of its fields; their listeners end with the view that `host` and `signal` belong to. */
async function makeView(model, { host, signal }) {
  const models = Object.entries(model.get("field_models")).map(async ([name, id]) => [name, await host.getModel(`anywidget:${id}`)]);
  return new FormView(model, new Map(await Promise.all(models)), signal);
}

function showProblems(view, place) {
  const problems = view.model.get("problems") ?? {};
  const wrong = view.plan.fields.filter((plan) => problems[plan.id]);
  if (!hasChanged(place, wrong.map((plan) => plan.id))) return;
  place.replaceChildren(...(wrong.length ? [
    h("span", {}, `${wrong.length} ${wrong.length === 1 ? "setting" : "settings"} to fix before running:`),
    ...wrong.map((plan) => h("button", { type: "button", class: "wiro-link", on: { click: () => view.fields.get(plan.id).focus() } }, plan.label)),
  ] : []));
}

/**
 * Scrolls the form into view, ready to be typed into. Once: not after a reload. An output that is drawn anew
 * in this moment takes the view away; then its next view does this.
 */
function takeFocus(model, view, card) {
  whenShown(() => card, () => {
    card.scrollIntoView({ block: "nearest" });
    [...view.fields.values()][0]?.focus();
    setTimeout(() => card.isConnected && put(model, "takes_focus", false), REDRAWN_WITHIN_MS);
  });
}

/** A form whose kernel is gone keeps what was typed; its buttons do nothing more, and it says why. */
function endForm(card, footer) {
  const showGone = () => footer.showMessage(["The kernel is gone. Run this cell again to use the form."], "error");
  for (const node of card.querySelectorAll("button")) setAttribute(node, "aria-disabled", "true");
  card.addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    event.preventDefault();
    event.stopPropagation();
    showGone();
  }, { capture: true });
  showGone();
}

async function render({ model, el, signal, host }) {
  const view = await makeView(model, { host, signal });
  const { plan } = view;
  plan.fields.forEach((item) => view.draw(item.id));
  const nodes = (plans) => groupNodes(plans, view.fields, plans.length >= GROUP_HEADS_FROM);
  const titleId = freshId("t");
  const amount = h("b", { class: "wiro-num" });
  const billed = h("span");
  const head = headNode(plan, titleId, h("p", { class: "wiro-price" }, amount, billed));
  const prompt = plan.fields.filter((item) => item.kind === "prompt");
  const folded = plan.fields.filter((item) => item.more);
  const more = folded.length ? moreNode(folded, view.fields) : null;
  const results = makeResults(model, { host, signal }, (card) => footer.follow(card));
  const footer = makeFooter(model, view, results);
  const body = h("div", { class: "wiro-sec" },
    prompt.length > 0 && h("div", { class: "wiro-fieldset-prompt" }, ...prompt.map((item) => view.fields.get(item.id).node)),
    ...nodes(plan.fields.filter((item) => item.kind !== "prompt" && !item.more)), more?.node);
  const card = h("div", { class: "wiro-card wiro-form", role: "form", "aria-labelledby": titleId, on: { keydown: (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) footer.run();
  } } }, head, body, footer.node);
  const box = h("div", { class: "wiro-form-box" }, card, results.node);
  const showPrice = () => {
    setMoneyText(amount, model.get("price"));
    setMoneyText(billed, model.get("price_note") || (model.get("price").includes("$") ? "per run, billed if it succeeds" : ""));
    footer.show();
  };
  const showAllProblems = () => showProblems(view, footer.problems);
  model.on("change:price change:price_note change:budget", showPrice);
  model.on("change:problems", showAllProblems);
  model.on("change:cards", results.update);
  model.on("change:takes_focus", () => model.get("takes_focus") && hasFocusNear(box) && takeFocus(model, view, card));
  model.on("change:gone", () => model.get("gone") && endForm(card, footer));
  model.on("msg:custom", async (content) => {
    if (content?.type === "refused" || content?.type === "message") footer.onAnswer();
    if (content?.type === "refused") {
      footer.showMessage([]);
      view.fields.get(content.first)?.focus();
    } else if (content?.type === "message") footer.showMessage(content.lines, content.variant);
    else if (content?.type === "copy") footer.showMessage([(await copyText(content.text, footer.copyPlace)) ? "Copied." : "Press Ctrl+C or Cmd+C to copy."]);
  });
  const refresh = () => {
    more?.show();
    view.fields.forEach((field) => view.derivedHint(field.plan) !== null && field.show());
  };
  view.models.forEach((field) => field.on("change:value", refresh));
  mount(el, box);
  showPrice();
  showAllProblems();
  more?.show();
  results.update();
  if (model.get("gone")) endForm(card, footer);
  else if (model.get("takes_focus")) takeFocus(model, view, card);
  return () => view.fields.forEach((field) => field.flush());
}

function initialize({ model, signal }) {
  saveOnlyStatic(model);
  markWhenGone(model, signal);
  // Fields shown on their own are drawn by a view of their own, so that ids and listeners stay apart.
  registerForm(model.get("form_key"), async (name, field) => mount(field.el, (await makeView(model, field)).draw(name).node));
}

export default { initialize, render };
