/**
 * One field of a form, and fields in groups: label, control, hint, description, trigger words, problem.
 */
import { h, icon, freshId, hasChanged, put, setAttribute, setShown, setText } from "./dom.js";
import { makeControl, findOption } from "./controls.js";
import { makeFileControl } from "./files.js";

/** True when a field stands at its default. */
export function isDefault(plan, value) {
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
export function drawField(form, plan, model) {
  const [id, labelId, hintId, errorId] = ["f", "l", "h", "e"].map(freshId);
  const link = (label, onClick, kind = "wiro-link", more = {}) => h("button", { type: "button", class: kind, on: { click: onClick }, ...more }, label);
  const set = (value) => {
    put(model, "value", value);
    control.focusNode.focus();
  };
  const count = h("span", { class: "wiro-n" });
  const hint = h("p", { class: "wiro-hint", id: hintId, hidden: !plan.hint }, plan.hint);
  const describedBy = `${hintId} ${errorId}`;
  const context = { plan, model, id, labelId, describedBy, count, hint, countText: countText(plan, model.get("value")) };
  const control = plan.kind === "files" ? makeFileControl(context) : makeControl(context);
  const name = plan.label.toLowerCase().replace(/\W/g, "") === plan.id.toLowerCase() ? null : plan.id;
  const isGroup = ["files", "pairs", "choices"].includes(plan.kind);
  const label = h(isGroup ? "span" : "label", { id: labelId, for: !isGroup && id, dir: "auto" }, plan.label,
    plan.required && h("span", { class: "wiro-muted", "aria-hidden": "true", title: "required" }, " *"));
  const back = link("reset", () => set(plan.kind === "files" ? [] : plan.kind === "pairs" ? {} : plan.default ?? ""), "wiro-back",
    { hidden: true, "aria-label": `Reset ${plan.label} to its default`, title: "Back to the default" });
  const words = h("div", { class: "wiro-words", hidden: true });
  const about = h("p", { class: "wiro-hint", hidden: true, dir: "auto" });
  const error = h("div", { class: "wiro-err", id: errorId, hidden: true, role: plan.kind === "files" && "alert" });
  const sample = plan.sample ? link("Use the sample", () => set(plan.sample)) : null;
  const isWide = isGroup || ["prompt", "textarea"].includes(plan.kind);
  const node = h("div", { class: `wiro-field${isWide ? " wiro-wide" : ""}`, "data-name": plan.id },
    h("div", { class: "wiro-lab" }, label, name && h("code", { title: "the name to type" }, name), count),
    control.node, h("div", { class: "wiro-hintrow" }, hint, sample, back), about,
    plan.note && h("p", { class: "wiro-hint" }, plan.note), words, error);
  setAttribute(control.focusNode, "aria-describedby", describedBy);
  if (plan.kind === "files") setAttribute(control.focusNode, "aria-label", `${plan.label}${plan.required ? ", required" : ""}: choose file`);
  const showWords = (value) => {
    if (!plan.options || plan.kind === "choices") return;
    const [, , description, triggers] = findOption(plan, value);
    setText(about, description);
    setShown(about, description);
    setShown(words, triggers.length > 0 && form.promptPlan);
    words.replaceChildren(h("span", {}, "Trigger words, click to add to the prompt:"), ...triggers.map((word) => link(word, () => form.addToPrompt(word), "wiro-chip")));
  };
  const show = () => {
    control.keep?.();
    const value = model.get("value");
    control.show(value);
    if (plan.kind !== "search") setText(count, countText(plan, value));
    else if (!count.textContent) setText(count, context.countText);
    setShown(back, !isDefault(plan, value) && plan.kind !== "prompt");
    if (sample) setShown(sample, String(value ?? "") === "");
    showWords(value);
    const extra = form.derivedHint(plan);
    if (extra === null) return;
    setText(hint, [plan.hint, extra].filter(Boolean).join("; "));
    setShown(hint, hint.textContent);
  };
  const showProblem = (problem = null) => {
    if (!hasChanged(error, problem)) return;
    setAttribute(control.invalidNode ?? control.focusNode, "aria-invalid", problem && "true");
    setShown(error, problem);
    error.replaceChildren(...(problem ? [icon("warning", true), h("span", {}, problem.message),
      ...problem.near.map((near) => link(`Use ${near}`, () => set(["number", "range"].includes(plan.kind) ? Number(near) : near), "wiro-fix"))] : []));
  };
  const focus = () => {
    node.closest("details")?.setAttribute("open", "");
    control.focusNode.focus();
    node.scrollIntoView({ block: "nearest" });
  };
  model.on("change:value change:pinned change:items", show);
  show();
  return { flush: () => {}, isBusy: () => false, isAhead: () => false, takeAddress: () => "", ...control, plan, model, node, show, showProblem, focus };
}

/** Splits plans by their group, in order. A heading over a single field says nothing: such fields stand together without one. */
function grouped(plans) {
  const groups = new Map();
  for (const plan of plans) groups.set(plan.group ?? "", [...(groups.get(plan.group ?? "") ?? []), plan]);
  const result = [];
  for (const [heading, members] of groups) {
    const last = result.at(-1);
    if (members.length > 1) result.push([heading, members]);
    else if (last?.[0] === "") last[1].push(...members);
    else result.push(["", members]);
  }
  return result;
}

/** The nodes of several fields, by group where there are enough for headings. */
export function groupNodes(plans, fields, withHeads) {
  const groups = withHeads ? grouped(plans) : plans.length ? [["", plans]] : [];
  return groups.map(([heading, members]) => {
    const headId = freshId("g");
    return h("div", { class: "wiro-group", role: withHeads && "group", "aria-labelledby": heading ? headId : null },
      heading && h("h4", { id: headId, dir: "auto" }, heading),
      h("div", { class: "wiro-grid" }, ...members.map((plan) => fields.get(plan.id).node)));
  });
}
