/**
 * The controls of a form: text, number, range, choice, searchable list, seed, free pairs.
 * Each maker takes a context {plan, model, form, id, describedBy} and returns
 * {node, focusNode, show(value), keep?, flush?}. `model` is the field's widget model.
 */
import { h, icon, button, put, setText, setShown, setAttribute, freshId } from "./dom.js";

const SAVE_AFTER_MS = 250;
const SHOWN_MATCHES = 200;
const SAMPLE_SHOWN = 240;

/** A number when writing it out gives the same text again, else the text. */
export function plainValue(text, isNumber) {
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
  const save = (value, { now = false } = {}) => {
    unsent = value;
    clearTimeout(timer);
    timer = setTimeout(flush, SAVE_AFTER_MS);
    model.set("value", value);
    if (now) flush();
  };
  const keep = () => {
    if (timer !== null && model.get("value") !== unsent) model.set("value", unsent);
  };
  return { save, flush, keep };
}

function textControl(context, isNumber, saver = valueSaver(context.model)) {
  const { plan, id } = context;
  const large = plan.kind === "prompt" || plan.kind === "textarea";
  const node = h(large ? "textarea" : "input", {
    id,
    class: `wiro-in${plan.kind === "prompt" ? " wiro-big" : ""}${isNumber ? " wiro-num" : ""}`,
    rows: large ? (plan.kind === "prompt" ? "3" : "2") : null,
    type: large ? null : "text",
    inputmode: isNumber ? (plan.step?.includes(".") || String(plan.default ?? "").includes(".") ? "decimal" : "numeric") : null,
    dir: isNumber ? "ltr" : "auto",
    autocomplete: "off",
    spellcheck: large ? "true" : "false",
    placeholder: plan.sample ? `For example: ${plan.sample.slice(0, SAMPLE_SHOWN)}${plan.sample.length > SAMPLE_SHOWN ? "…" : ""}` : null,
    "aria-required": plan.required ? "true" : null,
    on: {
      input: () => saver.save(plainValue(node.value, isNumber)),
      change: saver.flush,
      blur: saver.flush,
    },
  });
  if (isNumber) node.addEventListener("keydown", (event) => stepNumber(event, node, plan, saver));
  // Keys typed here are not shortcuts of the notebook.
  const show = (value) => {
    const text = String(value ?? "");
    if (plainValue(node.value, isNumber) !== plainValue(text, isNumber)) node.value = text;
  };
  const unit = plan.unit ? h("span", { class: "wiro-unit" }, plan.unit) : null;
  return { node: unit ? h("div", { class: "wiro-join" }, node, unit) : node, focusNode: node, show, keep: saver.keep, flush: saver.flush };
}

/** Up and Down change a number by its step, within its bounds. */
function stepNumber(event, node, plan, saver) {
  const sign = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  const present = Number(node.value);
  if (!sign || node.value.trim() === "" || !Number.isFinite(present)) return;
  event.preventDefault();
  const step = Number(plan.step) || plan.rule_step || (node.value.includes(".") ? 0.1 : 1);
  const places = Math.max(...[String(step), node.value].map((text) => (text.split(".")[1] ?? "").length));
  const low = plan.min === undefined ? -Infinity : Number(plan.min);
  const high = plan.max === undefined ? Infinity : Number(plan.max);
  node.value = Math.min(high, Math.max(low, present + sign * step)).toFixed(places);
  saver.save(plainValue(node.value, true));
}

function rangeControl(context) {
  const { plan, model } = context;
  const saver = valueSaver(model);
  const typed = textControl(context, true, saver);
  const slider = h("input", {
    type: "range",
    min: plan.min,
    max: plan.max,
    step: plan.step ?? (plan.min.includes(".") || plan.max.includes(".") ? "any" : "1"),
    "aria-label": plan.label,
    on: { input: () => saver.save(plainValue(slider.value, true)), change: saver.flush },
  });
  const show = (value) => {
    typed.show(value);
    const number = Number(value);
    if (Number.isFinite(number) && Number(slider.value) !== number) slider.value = String(number);
  };
  return { node: h("div", { class: "wiro-range" }, slider, typed.node), focusNode: typed.focusNode, show, keep: saver.keep, flush: saver.flush };
}

/** The option whose value is `value`, else one that says so. */
export function findOption(plan, value) {
  const text = String(value ?? "");
  const found = (plan.options ?? []).find((option) => option[0] === text);
  if (found) return found;
  return [text, text === "" ? plan.empty ?? "none" : `${text} (not in the list)`, "", []];
}

function selectControl(context) {
  const { plan, model, id } = context;
  const node = h("select", {
    id,
    class: "wiro-in",
    "aria-required": plan.required ? "true" : null,
    on: {
      change: () => {
        put(model, "value", node.value);
      },
    },
  });
  node.append(...plan.options.map(([value, label]) => h("option", { value }, label)));
  if (plan.empty) node.prepend(h("option", { value: "" }, plan.empty));
  const show = (value) => {
    const [wanted, label] = findOption(plan, value);
    for (const extra of node.querySelectorAll("[data-extra]")) if (extra.value !== wanted) extra.remove();
    if (![...node.options].some((option) => option.value === wanted)) {
      node.prepend(h("option", { value: wanted, "data-extra": true }, label));
    }
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

function searchControl(context) {
  const { plan, model, id } = context;
  const listId = freshId("list");
  const options = plan.empty ? [["", plan.empty, "", []], ...plan.options] : plan.options;
  let matches = [];
  let here = -1;
  let isOpen = false;
  const list = h("div", { role: "listbox", id: listId, "aria-label": plan.label });
  const cap = h("div", { class: "wiro-cap" }, "Up and Down to move, Enter to choose, Esc to close");
  const pop = h("div", { class: "wiro-pop", hidden: true }, list, cap);
  const input = h("input", {
    id,
    class: "wiro-in",
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    dir: "auto",
    "aria-expanded": "false",
    "aria-autocomplete": "list",
    "aria-controls": listId,
    "aria-required": plan.required ? "true" : null,
  });
  const rest = () => {
    input.value = findOption(plan, model.get("value"))[1];
  };
  const move = (index) => {
    list.children[here]?.classList.remove("wiro-here");
    list.children[here]?.setAttribute("aria-selected", "false");
    here = matches.length ? Math.max(0, Math.min(matches.length - 1, index)) : -1;
    const option = list.children[here];
    option?.classList.add("wiro-here");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    setAttribute(input, "aria-activedescendant", option?.id ?? null);
  };
  const fill = (wanted) => {
    const word = wanted.trim().toLowerCase();
    const all = options.filter((option) => [option[0], option[1], option[2], ...option[3]].some((text) => text.toLowerCase().includes(word)));
    matches = all.slice(0, SHOWN_MATCHES);
    here = -1;
    list.replaceChildren(...matches.map((option, index) => h(
      "div",
      { class: "wiro-opt", role: "option", id: `${listId}-${index}`, "aria-selected": "false", on: { mousedown: (event) => {
        event.preventDefault();
        choose(index);
      } } },
      markedLabel(option[1], word),
      option[2] ? h("span", { class: "wiro-muted" }, option[2]) : null,
    )));
    setText(context.count, `${all.length} of ${plan.options.length} match`);
    setText(cap, all.length ? "Up and Down to move, Enter to choose, Esc to close" : "Nothing matches. Esc to close");
    const now = matches.findIndex((option) => option[0] === String(model.get("value")));
    move(word ? 0 : Math.max(0, now));
  };
  const open = (wanted) => {
    isOpen = true;
    setShown(pop, true);
    setAttribute(input, "aria-expanded", "true");
    fill(wanted);
  };
  const close = () => {
    isOpen = false;
    setShown(pop, false);
    setAttribute(input, "aria-expanded", "false");
    setAttribute(input, "aria-activedescendant", null);
    setText(context.count, context.countText);
    rest();
  };
  const choose = (index) => {
    if (matches[index]) {
      put(model, "value", matches[index][0]);
    }
    close();
  };
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => isOpen || open(""));
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) {
      event.preventDefault();
      if (isOpen) move(here + step);
      else open("");
    } else if (event.key === "Enter" && isOpen) {
      event.preventDefault();
      choose(here);
    } else if (event.key === "Escape" && isOpen) {
      event.preventDefault();
      close();
    }
  });
  const node = h("div", {}, h("div", { class: "wiro-sel" }, input, icon("search")), pop);
  return { node, focusNode: input, show: () => isOpen || rest() };
}

function seedControl(context) {
  const { model } = context;
  const saver = valueSaver(model);
  const typed = textControl(context, true, saver);
  const dice = button("Random seed", { icon: "dice", kind: "wiro-btn-icon", onClick: () => {
    saver.save(1 + (crypto.getRandomValues(new Uint32Array(1))[0] % 2147483646), { now: true });
  } });
  const pin = button("Pin this seed", { icon: "pin", kind: "wiro-btn-icon", onClick: () => {
    put(model, "pinned", !model.get("pinned"));
  } });
  const show = (value) => {
    typed.show(value);
    const pinned = model.get("pinned") && String(value) !== "";
    setAttribute(pin, "aria-pressed", pinned ? "true" : "false");
    setText(context.hint, pinned ? `Pinned: every run uses ${value}.` : "New one each run. Pin to repeat.");
    setShown(context.hint, true);
  };
  return { node: h("div", { class: "wiro-join" }, typed.focusNode, dice, pin), focusNode: typed.focusNode, show, keep: saver.keep, flush: saver.flush };
}

function checkboxControl(context) {
  const { model, id } = context;
  const node = h("input", { id, type: "checkbox", on: { change: () => {
    put(model, "value", node.checked ? "true" : "false");
  } } });
  const show = (value) => {
    node.checked = String(value) === "true";
  };
  return { node: h("div", {}, node), focusNode: node, show };
}

function colourControl(context) {
  const saver = valueSaver(context.model);
  const typed = textControl(context, false, saver);
  const picker = h("input", { type: "color", "aria-label": `${context.plan.label}: choose a colour`, on: {
    input: () => saver.save(picker.value),
    change: saver.flush,
  } });
  const show = (value) => {
    typed.show(value);
    if (/^#[0-9a-f]{6}$/i.test(String(value))) picker.value = String(value).toLowerCase();
  };
  return { ...typed, node: h("div", { class: "wiro-join" }, typed.focusNode, picker), show };
}

/** Several choices of a list, each a checkbox. */
function choicesControl(context) {
  const { plan, model, id } = context;
  const boxes = plan.options.map(([value], index) => h("input", { id: index ? null : id, type: "checkbox", value, on: { change: () => {
    put(model, "value", boxes.filter((box) => box.checked).map((box) => box.value));
  } } }));
  const labels = plan.options.map(([, label], index) => h("label", { dir: "auto" }, boxes[index], " ", label));
  const show = (value) => {
    for (const box of boxes) box.checked = (value ?? []).includes(box.value);
  };
  return { node: h("div", { class: "wiro-row", role: "group", "aria-labelledby": context.labelId }, ...labels), focusNode: boxes[0], show };
}

/** Free names and values, for a model without published inputs. */
function pairsControl(context) {
  const { model } = context;
  const saver = valueSaver(model);
  const rows = h("div", {});
  const read = () => {
    const pairs = {};
    for (const row of rows.children) {
      const [name, value] = row.querySelectorAll("input");
      if (name.value.trim()) pairs[name.value.trim()] = value.value;
    }
    return pairs;
  };
  const save = () => saver.save(read());
  const addRow = (name = "", value = "") => {
    const listeners = { input: save, blur: saver.flush };
    const row = h(
      "div",
      { class: "wiro-pair" },
      h("input", { class: "wiro-in wiro-mono", "aria-label": "Name", placeholder: "name", autocomplete: "off", spellcheck: "false", on: listeners }),
      h("input", { class: "wiro-in", "aria-label": "Value", placeholder: "value", dir: "auto", autocomplete: "off", on: listeners }),
      button("Remove", { icon: "cross", kind: "wiro-btn-icon wiro-btn-muted", onClick: () => {
        const next = row.nextElementSibling ?? row.previousElementSibling;
        row.remove();
        save();
        (next?.querySelector("input") ?? add).focus();
      } }),
    );
    const [nameInput, valueInput] = row.querySelectorAll("input");
    nameInput.value = name;
    valueInput.value = String(value);
    rows.append(row);
    return nameInput;
  };
  const add = button("Add a parameter", { icon: "plus", kind: "wiro-btn-s", onClick: () => addRow().focus() });
  const show = (value) => {
    if (JSON.stringify(read()) === JSON.stringify(value ?? {})) return;
    rows.replaceChildren();
    for (const [name, item] of Object.entries(value ?? {})) addRow(name, item);
  };
  return { node: h("div", {}, rows, add), focusNode: add, show, keep: saver.keep, flush: saver.flush };
}

/** @returns the control for a plan's kind; unknown kinds get a text field. */
export function makeControl(context) {
  switch (context.plan.kind) {
    case "number":
      return textControl(context, true);
    case "range":
      return rangeControl(context);
    case "select":
      return selectControl(context);
    case "search":
      return searchControl(context);
    case "seed":
      return seedControl(context);
    case "checkbox":
      return checkboxControl(context);
    case "colour":
      return colourControl(context);
    case "choices":
      return choicesControl(context);
    case "pairs":
      return pairsControl(context);
    default:
      return textControl(context, false);
  }
}
