/**
 * The controls of a form: text, number, range, choice, searchable list, seed, free pairs.
 * Each maker takes a context {plan, model, id, labelId, count, countText, hint} and returns
 * {node, focusNode, show(value), keep?, flush?}. `model` is the field's widget model.
 */
import { h, icon, button, put, setText, setShown, setAttribute, freshId } from "./dom.js";

const SAVE_AFTER_MS = 250;
const SHOWN_MATCHES = 200;
const SAMPLE_SHOWN = 240;
const HELP = "Up and Down to move, Enter to choose, Esc to close";

/** A number when writing it out gives the same text again, else the text. */
function plainValue(text, isNumber) {
  if (!isNumber) return text;
  const trimmed = text.trim();
  const number = Number(trimmed);
  return trimmed !== "" && Number.isFinite(number) && String(number) === trimmed ? number : trimmed;
}

/**
 * Sets the field's value at once on the page, and a little later in the kernel. The kernel's answer to what was
 * sent before may come while one types on; `keep` puts back what it would take away, until that is sent too.
 */
function valueSaver(model) {
  let timer = null;
  let unsent;
  const flush = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    model.save_changes();
  };
  const save = (value) => {
    unsent = value;
    clearTimeout(timer);
    timer = setTimeout(flush, SAVE_AFTER_MS);
    model.set("value", value);
  };
  const keep = () => {
    if (timer !== null && model.get("value") !== unsent) model.set("value", unsent);
  };
  return { save, flush, keep };
}

function textControl({ plan, id, model }, isNumber = false) {
  const saver = valueSaver(model);
  const isPrompt = plan.kind === "prompt";
  const isLarge = isPrompt || plan.kind === "textarea";
  const hasPoint = [plan.step, plan.default].some((text) => String(text ?? "").includes("."));
  const sample = plan.sample && `For example: ${plan.sample.slice(0, SAMPLE_SHOWN)}${plan.sample.length > SAMPLE_SHOWN ? "…" : ""}`;
  const node = h(isLarge ? "textarea" : "input", {
    id, class: `wiro-in${isPrompt ? " wiro-big" : ""}${isNumber ? " wiro-num" : ""}`, dir: isNumber ? "ltr" : "auto",
    rows: isLarge && (isPrompt ? "3" : "2"), type: !isLarge && "text", inputmode: isNumber && (hasPoint ? "decimal" : "numeric"),
    autocomplete: "off", spellcheck: String(isLarge), placeholder: sample || null, "aria-required": plan.required && "true",
    on: { input: () => saver.save(plainValue(node.value, isNumber)), change: saver.flush, blur: saver.flush,
      keydown: (event) => isNumber && stepNumber(event, node, plan, saver) },
  });
  const show = (value) => {
    const text = String(value ?? "");
    if (plainValue(node.value, isNumber) !== plainValue(text, isNumber)) node.value = text;
  };
  return { node: plan.unit ? h("div", { class: "wiro-join" }, node, h("span", { class: "wiro-unit" }, plan.unit)) : node, focusNode: node, show, ...saver };
}

const numberControl = (context) => textControl(context, true);

/** Up and Down change a number by its step, within its bounds. */
function stepNumber(event, node, plan, saver) {
  const sign = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  const present = Number(node.value);
  if (!sign || node.value.trim() === "" || !Number.isFinite(present)) return;
  event.preventDefault();
  const step = Number(plan.step) || plan.rule_step || (node.value.includes(".") ? 0.1 : 1);
  const places = Math.max(...[String(step), node.value].map((text) => (text.split(".")[1] ?? "").length));
  const [low, high] = [Number(plan.min ?? -Infinity), Number(plan.max ?? Infinity)];
  node.value = Math.min(high, Math.max(low, present + sign * step)).toFixed(places);
  saver.save(plainValue(node.value, true));
}

function rangeControl(context) {
  const { plan } = context;
  const typed = numberControl(context);
  const step = plan.step ?? (plan.min.includes(".") || plan.max.includes(".") ? "any" : "1");
  const slider = h("input", { type: "range", min: plan.min, max: plan.max, step, "aria-label": plan.label,
    on: { input: () => typed.save(plainValue(slider.value, true)), change: typed.flush } });
  const show = (value) => {
    typed.show(value);
    const number = Number(value);
    if (Number.isFinite(number) && Number(slider.value) !== number) slider.value = String(number);
  };
  return { ...typed, node: h("div", { class: "wiro-range" }, slider, typed.node), show };
}

/** The option whose value is `value`, else one that says so. */
export function findOption(plan, value) {
  const text = String(value ?? "");
  const found = (plan.options ?? []).find((option) => option[0] === text);
  return found ?? [text, text === "" ? plan.empty ?? "none" : `${text} (not in the list)`, "", []];
}

function selectControl({ plan, model, id }) {
  const node = h("select", { id, class: "wiro-in", "aria-required": plan.required && "true", on: { change: () => put(model, "value", node.value) } },
    plan.empty && h("option", { value: "" }, plan.empty), ...plan.options.map(([value, label]) => h("option", { value }, label)));
  const show = (value) => {
    const [wanted, label] = findOption(plan, value);
    for (const extra of node.querySelectorAll("[data-extra]")) if (extra.value !== wanted) extra.remove();
    if (![...node.options].some((option) => option.value === wanted)) node.prepend(h("option", { value: wanted, "data-extra": true }, label));
    if (node.value !== wanted || node.selectedIndex < 0) node.value = wanted;
  };
  return { node: h("div", { class: "wiro-sel" }, node, icon("down")), focusNode: node, show };
}

/** Label with the first match of `words` marked. */
function markedLabel(label, wanted) {
  const start = wanted ? label.toLowerCase().indexOf(wanted) : -1;
  if (start < 0) return h("span", { dir: "auto" }, label);
  const end = start + wanted.length;
  return h("span", { dir: "auto" }, label.slice(0, start), h("mark", {}, label.slice(start, end)), label.slice(end));
}

function searchControl({ plan, model, id, count, countText }) {
  const listId = freshId("list");
  const options = plan.empty ? [["", plan.empty, "", []], ...plan.options] : plan.options;
  let [matches, here] = [[], -1];
  const list = h("div", { role: "listbox", id: listId, "aria-label": plan.label });
  const cap = h("div", { class: "wiro-cap" });
  const pop = h("div", { class: "wiro-pop", hidden: true }, list, cap);
  const input = h("input", { id, class: "wiro-in", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", dir: "auto",
    "aria-expanded": "false", "aria-autocomplete": "list", "aria-controls": listId, "aria-required": plan.required && "true" });
  const show = () => {
    if (pop.hidden) input.value = findOption(plan, model.get("value"))[1];
  };
  const setOpen = (isOpen) => {
    setShown(pop, isOpen);
    setAttribute(input, "aria-expanded", String(isOpen));
  };
  const move = (index) => {
    here = Math.min(matches.length - 1, Math.max(0, index));
    [...list.children].forEach((option, place) => {
      option.classList.toggle("wiro-here", place === here);
      setAttribute(option, "aria-selected", String(place === here));
    });
    list.children[here]?.scrollIntoView({ block: "nearest" });
    setAttribute(input, "aria-activedescendant", list.children[here]?.id);
  };
  const open = (wanted) => {
    const word = wanted.trim().toLowerCase();
    const all = options.filter((option) => option.flat().some((text) => text.toLowerCase().includes(word)));
    matches = all.slice(0, SHOWN_MATCHES);
    list.replaceChildren(...matches.map((option, index) => h("div", { class: "wiro-opt", role: "option", id: `${listId}-${index}`, on: { mousedown: (event) => {
      event.preventDefault();
      choose(index);
    } } }, markedLabel(option[1], word), option[2] && h("span", { class: "wiro-muted" }, option[2]))));
    setText(count, `${all.length} of ${plan.options.length} match`);
    setText(cap, all.length ? HELP : "Nothing matches. Esc to close");
    setOpen(true);
    move(word ? 0 : matches.findIndex((option) => option[0] === String(model.get("value"))));
  };
  const close = () => {
    setOpen(false);
    setAttribute(input, "aria-activedescendant", null);
    setText(count, countText);
    show();
  };
  const choose = (index) => {
    if (matches[index]) put(model, "value", matches[index][0]);
    close();
  };
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => pop.hidden && open(""));
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (!step && (pop.hidden || !["Enter", "Escape"].includes(event.key))) return;
    event.preventDefault();
    if (step && pop.hidden) open("");
    else if (step) move(here + step);
    else if (event.key === "Enter") choose(here);
    else close();
  });
  return { node: h("div", {}, h("div", { class: "wiro-sel" }, input, icon("search")), pop), focusNode: input, show };
}

function seedControl(context) {
  const { plan, model, hint } = context;
  const typed = numberControl(context);
  const low = Math.max(1, Number(plan.min ?? 1));
  const high = Math.max(low, Math.min(2147483647, Number(plan.max ?? 2147483647)));
  const dice = button("Random seed", { icon: "dice", kind: "wiro-btn-icon", onClick: () => {
    typed.save(low + (crypto.getRandomValues(new Uint32Array(1))[0] % (high - low + 1)));
    typed.flush();
  } });
  const pin = button("Pin this seed", { icon: "pin", kind: "wiro-btn-icon", onClick: () => put(model, "pinned", !model.get("pinned")) });
  const show = (value) => {
    typed.show(value);
    const isPinned = model.get("pinned") && String(value) !== "";
    setAttribute(pin, "aria-pressed", String(isPinned));
    setText(hint, isPinned ? `Pinned: every run uses ${value}.` : "New one each run. Pin to repeat.");
    setShown(hint, true);
  };
  return { ...typed, node: h("div", { class: "wiro-join" }, typed.focusNode, dice, pin), show };
}

function checkboxControl({ model, id }) {
  const node = h("input", { id, type: "checkbox", on: { change: () => put(model, "value", String(node.checked)) } });
  const show = (value) => {
    node.checked = String(value) === "true";
  };
  return { node: h("div", {}, node), focusNode: node, show };
}

function colourControl(context) {
  const typed = textControl(context);
  const picker = h("input", { type: "color", "aria-label": `${context.plan.label}: choose a colour`, on: { input: () => typed.save(picker.value), change: typed.flush } });
  const show = (value) => {
    typed.show(value);
    if (/^#[0-9a-f]{6}$/i.test(String(value))) picker.value = String(value).toLowerCase();
  };
  return { ...typed, node: h("div", { class: "wiro-join" }, typed.focusNode, picker), show };
}

/** Several choices of a list, each a checkbox. */
function choicesControl({ plan, model, id, labelId }) {
  const onChange = () => put(model, "value", boxes.filter((box) => box.checked).map((box) => box.value));
  const boxes = plan.options.map(([value], index) => h("input", { id: index === 0 && id, type: "checkbox", value, on: { change: onChange } }));
  const labels = plan.options.map(([, label], index) => h("label", { dir: "auto" }, boxes[index], " ", label));
  const show = (value) => {
    for (const box of boxes) box.checked = (value ?? []).includes(box.value);
  };
  return { node: h("div", { class: "wiro-row", role: "group", "aria-labelledby": labelId }, ...labels), focusNode: boxes[0], show };
}

/** Free names and values, for a model without published inputs. */
function pairsControl({ model }) {
  const saver = valueSaver(model);
  const rows = h("div");
  const read = () => {
    const pairs = [...rows.children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value));
    return Object.fromEntries(pairs.map(([name, value]) => [name.trim(), value]).filter(([name]) => name));
  };
  const save = () => saver.save(read());
  const addRow = (name = "", value = "") => {
    const input = (label, text, kind) => {
      const node = h("input", { class: kind, "aria-label": label, placeholder: label.toLowerCase(), dir: "auto", autocomplete: "off", spellcheck: "false", on: { input: save, blur: saver.flush } });
      node.value = String(text);
      return node;
    };
    const row = h("div", { class: "wiro-pair" }, input("Name", name, "wiro-in wiro-mono"), input("Value", value, "wiro-in"),
      button("Remove", { icon: "cross", kind: "wiro-btn-icon wiro-btn-muted", onClick: () => {
        const next = row.nextElementSibling ?? row.previousElementSibling;
        row.remove();
        save();
        (next?.querySelector("input") ?? add).focus();
      } }));
    rows.append(row);
    return row.querySelector("input");
  };
  const add = button("Add a parameter", { icon: "plus", kind: "wiro-btn-s", onClick: () => addRow().focus() });
  const show = (value) => {
    if (JSON.stringify(read()) === JSON.stringify(value ?? {})) return;
    rows.replaceChildren();
    for (const [name, item] of Object.entries(value ?? {})) addRow(name, item);
  };
  return { node: h("div", {}, rows, add), focusNode: add, show, ...saver };
}

const CONTROLS = { number: numberControl, range: rangeControl, select: selectControl, search: searchControl, seed: seedControl,
  checkbox: checkboxControl, colour: colourControl, choices: choicesControl, pairs: pairsControl };

/** @returns the control for a plan's kind; unknown kinds get a text field. */
export const makeControl = (context) => (CONTROLS[context.plan.kind] ?? ((text) => textControl(text)))(context);
