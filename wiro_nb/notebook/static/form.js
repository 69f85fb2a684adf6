/**
 * The form: draws every field, the head, the folded part and the footer. The kernel decides whether
 * values fit and what they cost; this file shows it where it belongs.
 */
import { h, icon, button, setText, setShown, setAttribute, setMoneyText, copyText, freshId } from "./dom.js";
import { keepKeys } from "./keys.js";
import { makeControl, findOption } from "./controls.js";
import { makeFileControl } from "./files.js";
import { markWhenGone } from "./place.js";
import { saveOnlyStatic } from "./saved.js";

const SHARED = Symbol.for("wiro_nb.forms.1");
const SLOW_KERNEL_MS = 1500;
const DOUBLE_CLICK_MS = 700;
const GROUP_HEADS_FROM = 9;
const NAMES_SHOWN = 12;

/** Makes this form known to fields that are shown on their own. */
function registerForm(key, form) {
  globalThis[SHARED] ??= { forms: new Map(), waiting: new Map() };
  const registry = globalThis[SHARED];
  registry.forms.set(key, form);
  for (const resolve of registry.waiting.get(key) ?? []) resolve(form);
  registry.waiting.delete(key);
}

function isDefault(plan, value) {
  if (plan.kind === "files") return (value ?? []).length === 0;
  if (plan.kind === "pairs") return Object.keys(value ?? {}).length === 0;
  return String(value ?? "") === String(plan.default ?? "");
}

/** The words at the right of a label: how many choices, how many characters, what it is called when typed. */
function countText(plan, value) {
  if (plan.kind === "search") return `${plan.options.length}, type to search`;
  if (plan.kind === "select" && plan.options.length > 6) return `${plan.options.length} choices`;
  if (plan.kind === "prompt" || plan.kind === "textarea") {
    const length = [...String(value ?? "")].length.toLocaleString("en");
    if (plan.max_length) return `${length} of ${plan.max_length.toLocaleString("en")} characters`;
    return plan.kind === "prompt" ? `${length} ${length === "1" ? "character" : "characters"}` : plan.required ? "" : "optional";
  }
  if (plan.kind === "files" && !plan.required) return plan.multiple ? "optional; several, in order" : "optional";
  return "";
}

/** Draws one field into a node: label, control, hint, description, trigger words, problem. */
function drawField(form, plan, model) {
  const id = freshId("f");
  const labelId = freshId("l");
  const hintId = freshId("h");
  const errorId = freshId("e");
  const count = h("span", { class: "wiro-n" });
  const hint = h("p", { class: "wiro-hint", id: hintId, hidden: !plan.hint });
  setText(hint, plan.hint ?? "");
  const describedBy = `${hintId} ${errorId}`;
  const context = { plan, model, id, labelId, describedBy, count, hint, countText: countText(plan, model.get("value")) };
  const control = plan.kind === "files" ? makeFileControl(context) : makeControl(context);
  const name = plan.label.toLowerCase().replace(/\W/g, "") === plan.id.toLowerCase() ? null : plan.id;
  const isGroup = plan.kind === "files" || plan.kind === "pairs";
  const label = isGroup ? h("span", { id: labelId, dir: "auto" }, plan.label) : h("label", { id: labelId, for: id, dir: "auto" }, plan.label);
  if (plan.required) label.append(h("span", { class: "wiro-muted", "aria-hidden": "true", title: "required" }, " *"));
  const back = h("button", { type: "button", class: "wiro-back", hidden: true, "aria-label": `Reset ${plan.label} to its default`, title: "Back to the default" }, "reset");
  const words = h("div", { class: "wiro-words", hidden: true });
  const about = h("p", { class: "wiro-hint", hidden: true, dir: "auto" });
  const error = h("div", { class: "wiro-err", id: errorId, hidden: true });
  const sample = plan.sample ? h("button", { type: "button", class: "wiro-link", on: { click: () => {
    model.set("value", plan.sample);
    model.save_changes();
    control.focusNode.focus();
  } } }, "Use the sample") : null;
  const wide = ["prompt", "textarea", "files", "pairs"].includes(plan.kind);
  const node = h(
    "div",
    { class: `wiro-field${wide ? " wiro-wide" : ""}`, "data-name": plan.id },
    h("div", { class: "wiro-lab" }, label, name ? h("code", { title: "the name to type" }, name) : null, back, count),
    control.node,
    sample ? h("div", { class: "wiro-hintrow" }, hint, sample) : hint,
    about,
    plan.note ? h("p", { class: "wiro-hint" }, plan.note) : null,
    words,
    error,
  );
  setAttribute(control.focusNode, "aria-describedby", describedBy);
  if (isGroup) setAttribute(control.focusNode, "aria-label", plan.kind === "files" ? `${plan.label}: choose file` : null);
  back.addEventListener("click", () => {
    model.set("value", plan.kind === "files" ? [] : plan.kind === "pairs" ? {} : plan.default ?? "");
    model.save_changes();
    control.focusNode.focus();
  });
  const showWords = (value) => {
    if (!plan.options) return;
    const [, , description, triggers] = findOption(plan, value);
    setText(about, description);
    setShown(about, Boolean(description));
    setShown(words, triggers.length > 0 && form.hasPrompt());
    words.replaceChildren(h("span", {}, "Trigger words, click to add to the prompt:"), ...triggers.map((word) => h(
      "button", { type: "button", class: "wiro-chip", on: { click: () => form.addToPrompt(word) } }, word)));
  };
  const show = () => {
    const value = model.get("value");
    control.show(value);
    if (plan.kind !== "search") setText(count, countText(plan, value));
    else if (!count.textContent) setText(count, context.countText);
    setShown(back, !isDefault(plan, value) && plan.kind !== "prompt");
    if (sample) setShown(sample, String(value ?? "") === "");
    showWords(value);
    const extra = form.derivedHint(plan);
    if (extra !== null) {
      setText(hint, [plan.hint, extra].filter(Boolean).join("; "));
      setShown(hint, Boolean(hint.textContent));
    }
  };
  const showProblem = (problem) => {
    const key = JSON.stringify(problem ?? null);
    if (error.shownKey === key) return;
    error.shownKey = key;
    const marked = control.invalidNode ?? control.focusNode;
    setAttribute(marked, "aria-invalid", problem ? "true" : null);
    setShown(error, Boolean(problem));
    if (!problem) return error.replaceChildren();
    return error.replaceChildren(icon("warning", true), h("span", {}, problem.message), ...problem.near.map((near) => h(
      "button", { type: "button", class: "wiro-fix", on: { click: () => {
        model.set("value", plan.kind === "number" || plan.kind === "range" ? Number(near) : near);
        model.save_changes();
        control.focusNode.focus();
      } } }, `Use ${near}`)));
  };
  model.on("change:value change:pinned change:items", show);
  show();
  return {
    plan, model, node, show, showProblem,
    focus: () => {
      node.closest("details")?.setAttribute("open", "");
      control.focusNode.focus();
      node.scrollIntoView({ block: "nearest" });
    },
    flush: control.flush ?? (() => {}),
    isBusy: control.isBusy ?? (() => false),
    dispose: () => model.off("change:value change:pinned change:items", show),
  };
}

/** Splits plans into [heading, plans] in their order. */
function grouped(plans) {
  const groups = new Map();
  for (const plan of plans) groups.set(plan.group ?? "", [...(groups.get(plan.group ?? "") ?? []), plan]);
  return [...groups.entries()];
}

/** A heading over a single field says nothing: such fields stand together without one. */
function headed(groups) {
  const result = [];
  for (const [heading, members] of groups) {
    const last = result[result.length - 1];
    if (members.length > 1) result.push([heading, members]);
    else if (last && last[0] === "") last[1].push(...members);
    else result.push(["", [...members]]);
  }
  return result;
}

function groupNodes(plans, fields, withHeads) {
  if (!withHeads) return plans.length ? [h("div", { class: "wiro-group" }, h("div", { class: "wiro-grid" }, ...plans.map((plan) => fields.get(plan.id).node)))] : [];
  return headed(grouped(plans)).map(([heading, members]) => {
    const headId = freshId("g");
    return h("div", { class: "wiro-group", role: "group", "aria-labelledby": heading ? headId : null },
      heading ? h("h4", { id: headId, dir: "auto" }, heading) : null,
      h("div", { class: "wiro-grid" }, ...members.map((plan) => fields.get(plan.id).node)));
  });
}

function badgeNode(name) {
  const isSandbox = name === "sandbox";
  return h("span", { class: `wiro-badge wiro-badge-${isSandbox ? "sandbox" : "cloud"}` }, icon(isSandbox ? "flask" : "cloud", true),
    isSandbox ? "sandbox" : name === "cloud" ? "Wiro cloud" : name);
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
  const node = h("details", { class: "wiro-more" },
    h("summary", {}, h("span", { class: "wiro-chev" }, icon("chevron", true)), "More ", names),
    ...groupNodes(plans, fields, plans.length >= GROUP_HEADS_FROM));
  const show = () => {
    const label = (plan) => (plan.label === plan.label.toUpperCase() ? plan.label : plan.label.toLowerCase());
    const still = plans.filter((plan) => isDefault(plan, fields.get(plan.id).model.get("value"))).map(label);
    const changed = plans.filter((plan) => !isDefault(plan, fields.get(plan.id).model.get("value"))).map(label);
    if (changed.length === 0) setText(names, `${nameList(still)}; all at default`);
    else setText(names, [`changed: ${nameList(changed)}`, still.length ? `at default: ${nameList(still)}` : ""].filter(Boolean).join("; "));
  };
  return { node, show };
}

/** Presets: choose, save under a name, delete. */
function presetParts(model, values) {
  const choice = h("select", { class: "wiro-in", "aria-label": "Load a preset" });
  const remove = button("Delete this preset", { icon: "cross", kind: "wiro-btn-icon wiro-btn-quiet", onClick: () => {
    if (choice.value) model.send({ type: "preset_delete", name: choice.value });
  } });
  const name = h("input", { class: "wiro-in", type: "text", maxlength: "60", placeholder: "name of the preset", "aria-label": "Name of the preset" });
  const store = () => {
    if (!name.value.trim()) return name.focus();
    model.send({ type: "preset_save", name: name.value.trim(), values: values() });
    close();
    return open.focus();
  };
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter") store();
    if (event.key === "Escape") close();
  });
  const ask = h("div", { class: "wiro-row wiro-presets", hidden: true }, name, button("Save", { kind: "wiro-btn-s", onClick: store }),
    button("Cancel", { kind: "wiro-btn-s wiro-btn-quiet", onClick: () => { close(); open.focus(); } }));
  const open = button("Save preset", { icon: "bookmark", kind: "wiro-btn-quiet", onClick: () => {
    setShown(ask, true);
    name.focus();
  } });
  const close = () => {
    setShown(ask, false);
    name.value = "";
  };
  choice.addEventListener("change", () => choice.value && model.send({ type: "preset_load", name: choice.value }));
  const box = h("div", { class: "wiro-row" }, h("div", { class: "wiro-sel" }, choice, icon("down")), remove);
  const show = () => {
    const names = model.get("presets") ?? [];
    const kept = choice.value;
    choice.replaceChildren(h("option", { value: "" }, `Presets (${names.length})`), ...names.map((item) => h("option", { value: item }, item)));
    choice.value = names.includes(kept) ? kept : "";
    setShown(box, names.length > 0);
  };
  show();
  return { open, ask, box, show };
}

/** "Vary": a line of `name=values`, a first press that says what it would send, a second one that sends it. */
function varyParts(model, form) {
  const text = h("input", { type: "text", class: "wiro-in wiro-mono", placeholder: "seed=1..6 size=a,b", spellcheck: "false",
    "aria-label": "What to vary, for example seed=1..6", maxlength: "2000" });
  const post = (type) => {
    form.flush();
    model.send({ type, text: text.value.trim(), values: form.values() });
  };
  const check = button("Check", { kind: "wiro-btn-s", onClick: () => (text.value.trim() ? post("vary_check") : text.focus()) });
  const send = button("Send", { icon: "play", kind: "wiro-btn-s", onClick: () => {
    setShown(send, false);
    post("vary_send");
  } });
  send.hidden = true;
  const ask = h("div", { class: "wiro-row wiro-presets", hidden: true }, text, check, send,
    button("Close", { kind: "wiro-btn-s wiro-btn-quiet", onClick: () => { setShown(ask, false); open.focus(); } }));
  const open = button("Vary", { kind: "wiro-btn-quiet", title: "Run once for each of several values", onClick: () => {
    setShown(ask, true);
    text.focus();
  } });
  // What was checked is what is sent: another text needs another look.
  text.addEventListener("input", () => setShown(send, false));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter") check.click();
    if (event.key === "Escape") setShown(ask, false);
  });
  const onAnswer = ({ count, text: checked }) => {
    setShown(send, count > 0 && checked === text.value.trim());
    setText(send.lastElementChild, count === 1 ? "Send 1 run" : `Send ${count} runs`);
  };
  const show = () => setShown(open, Boolean(model.get("can_vary")));
  show();
  return { open, ask, onAnswer, show };
}

function budgetNode() {
  const text = h("span", {});
  const fill = h("i", {});
  const bar = h("div", { class: "wiro-bar wiro-bar-still", role: "meter", "aria-label": "Spent in this notebook", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const node = h("div", { class: "wiro-budget wiro-push", hidden: true }, text, bar);
  const show = (budget) => {
    setShown(node, Boolean(budget?.text));
    if (!budget?.text) return;
    setMoneyText(text, budget.text);
    fill.style.width = `${Math.round(budget.share * 1000) / 10}%`;
    setAttribute(bar, "aria-valuenow", Math.round(budget.share * 100));
    setAttribute(bar, "aria-valuetext", budget.text);
  };
  return { node, show };
}

/** Everything below the fields. */
function makeFooter(model, form) {
  const priceOn = h("span", {});
  const run = h("button", { type: "button", class: "wiro-btn wiro-btn-run" }, icon("play", true), "Run ", h("span", { class: "wiro-price-on" }, priceOn));
  const problems = h("div", { class: "wiro-err", role: "status" });
  const notice = h("div", { class: "wiro-notice", role: "status" });
  const copyPlace = h("div", {});
  const budget = budgetNode();
  const presets = model.get("plan").has_presets ? presetParts(model, form.values) : null;
  const vary = varyParts(model, form);
  const copy = (what) => {
    form.flush();
    model.send({ type: "copy", what, values: form.values() });
  };
  let slow = null;
  const say = (lines, tone = "") => {
    clearTimeout(slow);
    setAttribute(notice, "class", `wiro-notice${tone === "err" ? " wiro-err" : ""}`);
    notice.replaceChildren(...lines.map((line) => {
      const node = h("div", { dir: "auto" });
      setMoneyText(node, line);
      return node;
    }));
  };
  // A second press counts only once the first was answered and a double click is over: a run costs money.
  let open = 0;
  const settle = () => {
    open -= 1;
    if (open === 0) setAttribute(run, "aria-busy", null);
  };
  let answered = () => {};
  run.addEventListener("click", () => {
    if (open > 0) return;
    const waiting = form.waitingField();
    if (waiting) {
      say([`${waiting.plan.label}: a file is still on its way. Press Run when it has arrived.`], "err");
      return;
    }
    open = 2;
    setAttribute(run, "aria-busy", "true");
    setTimeout(settle, DOUBLE_CLICK_MS);
    answered = () => {
      answered = () => {};
      settle();
    };
    form.flush();
    say([]);
    model.send({ type: "run", values: form.values() });
    slow = setTimeout(() => say(["The kernel is busy. The run starts when it is free."]), SLOW_KERNEL_MS);
  });
  const node = h("div", { class: "wiro-sec wiro-foot" },
    h("div", { class: "wiro-row" }, run,
      button("Copy as cell", { icon: "copy", onClick: () => copy("cell") }),
      button("Copy as Python", { kind: "wiro-btn-quiet", onClick: () => copy("python") }),
      vary.open,
      presets?.open,
      button("Reset", { icon: "reset", kind: "wiro-btn-quiet", title: "All settings back to the model's defaults", onClick: () => model.send({ type: "reset" }) }),
      presets?.box, budget.node),
    vary.ask, presets?.ask, problems, notice, copyPlace);
  const show = () => {
    setMoneyText(priceOn, model.get("price"));
    const spent = model.get("budget");
    budget.show(spent);
    setAttribute(run, "aria-disabled", spent?.reached ? "true" : null);
    if (spent?.reached) say([spent.hint]);
  };
  return { node, show, problems, say, copyPlace, presets, vary, onAnswer: () => answered() };
}

/** Everything one rendered form needs; also used by fields shown on their own. */
class FormView {
  constructor(model, models) {
    this.model = model;
    this.plan = model.get("plan");
    this.models = models;
    this.fields = new Map();
  }

  hasPrompt() {
    return this.plan.fields.some((plan) => plan.kind === "prompt");
  }

  addToPrompt(word) {
    const plan = this.plan.fields.find((item) => item.kind === "prompt");
    const model = this.models.get(plan.id);
    const text = String(model.get("value") ?? "");
    if (text.split(/,\s*/).includes(word)) return;
    model.set("value", text.trim() ? `${text.trimEnd().replace(/,$/, "")}, ${word}` : word);
    model.save_changes();
  }

  /** "81 frames make 5.1 s" at the frame rate; null for other fields. */
  derivedHint(plan) {
    if (!/^(fps|frame_?rate)$/i.test(plan.id)) return null;
    const frames = this.plan.fields.find((item) => /^(num_?frames|frame_?num(ber)?|frames)$/i.test(item.id));
    const count = Number(frames && this.models.get(frames.id).get("value"));
    const rate = Number(this.models.get(plan.id).get("value"));
    return count > 0 && rate > 0 ? `${count} frames make ${(count / rate).toFixed(1)} s` : "";
  }

  /** What stands in the fields now. Files are left out: the kernel knows them first. */
  values = () => Object.fromEntries(this.plan.fields.filter((plan) => plan.kind !== "files")
    .map((plan) => [plan.id, this.models.get(plan.id).get("value")]));

  /** The field whose file is still on its way, or undefined. */
  waitingField = () => [...this.fields.values()].find((field) => field.isBusy());

  flush = () => this.fields.forEach((field) => field.flush());

  draw(name) {
    const plan = this.plan.fields.find((item) => item.id === name);
    const field = drawField(this, plan, this.models.get(name));
    this.fields.set(name, field);
    field.showProblem((this.model.get("problems") ?? {})[name]);
    return field;
  }
}

async function loadModels(model) {
  const entries = Object.entries(model.get("field_models"));
  const found = await Promise.all(entries.map(([, id]) => model.widget_manager.get_model(id)));
  return new Map(entries.map(([name], index) => [name, found[index]]));
}

/** Puts run cards beneath the form, newest first, keeping those already there. */
async function showCards(model, place, shown) {
  const wanted = model.get("cards") ?? [];
  for (const [id, view] of shown) {
    if (wanted.includes(id)) continue;
    shown.delete(id);
    view.remove();
  }
  for (const id of wanted) {
    if (shown.has(id)) continue;
    shown.set(id, { el: null, remove() {} });
    const child = await model.widget_manager.get_model(id);
    shown.set(id, await model.widget_manager.create_view(child));
  }
  const nodes = wanted.map((id) => shown.get(id)?.el).filter(Boolean);
  if (nodes.some((node, index) => place.children[index] !== node)) place.replaceChildren(...nodes);
}

function showProblems(model, view, footer) {
  const problems = model.get("problems") ?? {};
  for (const [name, field] of view.fields) field.showProblem(problems[name]);
  const wrong = view.plan.fields.filter((plan) => problems[plan.id]);
  if (footer.problems.shownKey === wrong.map((plan) => plan.id).join("|")) return;
  footer.problems.shownKey = wrong.map((plan) => plan.id).join("|");
  footer.problems.replaceChildren(...(wrong.length ? [
    h("span", {}, `${wrong.length} ${wrong.length === 1 ? "setting" : "settings"} to fix before running:`),
    ...wrong.map((plan) => h("a", { href: "#", role: "button", on: { click: (event) => {
      event.preventDefault();
      event.stopPropagation();
      view.fields.get(plan.id).focus();
    } } }, plan.label)),
  ] : []));
}

/** Keeps a handler and its way back together. */
function subscriptions(model) {
  const all = [];
  return {
    on: (event, handler) => {
      model.on(event, handler);
      all.push([event, handler]);
    },
    off: () => all.forEach(([event, handler]) => model.off(event, handler)),
  };
}

/** A form that a choice elsewhere opened comes into sight, ready to be typed into. Once: not after a reload. */
function takeFocus(model, view, card) {
  model.set("takes_focus", false);
  model.save_changes();
  requestAnimationFrame(() => {
    card.scrollIntoView({ block: "nearest" });
    [...view.fields.values()][0]?.focus();
  });
}

/** A form whose kernel is gone keeps what was typed; its buttons do nothing more, and it says why. */
function endForm(card, footer) {
  const say = () => footer.say(["The kernel is gone. Run this cell again to use the form."], "err");
  for (const node of card.querySelectorAll("button")) setAttribute(node, "aria-disabled", "true");
  card.addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    event.preventDefault();
    event.stopPropagation();
    say();
  }, { capture: true });
  say();
}

async function render({ model, el }) {
  const view = new FormView(model, await loadModels(model));
  const { plan } = view;
  plan.fields.forEach((item) => view.draw(item.id));
  const titleId = freshId("t");
  const amount = h("b", { class: "wiro-num" });
  const billed = h("span", {});
  const head = headNode(plan, titleId, h("p", { class: "wiro-price" }, amount, billed));
  const prompt = plan.fields.filter((item) => item.kind === "prompt");
  const shown = plan.fields.filter((item) => item.kind !== "prompt" && !item.more);
  const folded = plan.fields.filter((item) => item.more);
  const more = folded.length ? moreNode(folded, view.fields) : null;
  const footer = makeFooter(model, view);
  const below = h("div", { class: "wiro-below" });
  const body = h("div", { class: "wiro-sec" },
    prompt.length ? h("div", { class: "wiro-fieldset-prompt" }, ...prompt.map((item) => view.fields.get(item.id).node)) : null,
    ...groupNodes(shown, view.fields, shown.length >= GROUP_HEADS_FROM), more?.node);
  const card = h("div", { class: "wiro-card wiro-form", role: "form", "aria-labelledby": titleId }, head, body, footer.node);
  const views = new Map();
  const subs = subscriptions(model);
  const showPrice = () => {
    setMoneyText(amount, model.get("price"));
    setMoneyText(billed, model.get("price_note") || (model.get("price").includes("$") ? "per run, billed if it succeeds" : ""));
    footer.show();
  };
  subs.on("change:price change:price_note change:budget", showPrice);
  subs.on("change:problems", () => showProblems(model, view, footer));
  subs.on("change:presets", () => footer.presets?.show());
  subs.on("change:can_vary", () => footer.vary.show());
  subs.on("change:cards", () => showCards(model, below, views));
  subs.on("change:gone", () => model.get("gone") && endForm(card, footer));
  subs.on("msg:custom", async (content) => {
    if (content?.type === "refused" || content?.type === "notice") footer.onAnswer();
    if (content?.type === "refused") {
      footer.say([]);
      view.fields.get(content.first)?.focus();
    } else if (content?.type === "notice") footer.say(content.lines, content.tone);
    else if (content?.type === "vary") footer.vary.onAnswer(content);
    else if (content?.type === "copy") {
      const copied = await copyText(content.text, footer.copyPlace);
      footer.say([copied ? "Copied." : "Press Ctrl+C or Cmd+C to copy."]);
    }
  });
  const refresh = () => {
    more?.show();
    view.fields.forEach((field) => view.derivedHint(field.plan) !== null && field.show());
  };
  view.models.forEach((field) => field.on("change:value", refresh));
  el.classList.add("wiro");
  el.replaceChildren(card, below);
  keepKeys(el);
  showPrice();
  showProblems(model, view, footer);
  more?.show();
  showCards(model, below, views);
  if (model.get("gone")) endForm(card, footer);
  else if (model.get("takes_focus")) takeFocus(model, view, card);
  return () => {
    subs.off();
    view.flush();
    view.models.forEach((field) => field.off("change:value", refresh));
    view.fields.forEach((field) => field.dispose());
    views.forEach((child) => child.remove());
  };
}

/** Fields shown on their own are drawn by a view of their own, so that ids and listeners stay apart. */
function initialize({ model }) {
  saveOnlyStatic(model);
  const stopWatching = markWhenGone(model);
  registerForm(model.get("form_key"), {
    async drawAlone(name, el) {
      const view = new FormView(model, await loadModels(model));
      const field = view.draw(name);
      const onProblems = () => field.showProblem((model.get("problems") ?? {})[name]);
      model.on("change:problems", onProblems);
      el.classList.add("wiro");
      el.replaceChildren(field.node);
      keepKeys(el);
      return () => {
        model.off("change:problems", onProblems);
        field.dispose();
      };
    },
  });
  return stopWatching;
}

export default { initialize, render };
