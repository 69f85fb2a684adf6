/**
 * One field of a form, and fields in groups: label, control, hint, description, trigger words, problem.
 */
import { h, icon, put, setText, setShown, setAttribute, freshId } from "./dom.js";
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
  const isGroup = ["files", "pairs", "choices"].includes(plan.kind);
  const label = isGroup ? h("span", { id: labelId, dir: "auto" }, plan.label) : h("label", { id: labelId, for: id, dir: "auto" }, plan.label);
  if (plan.required) label.append(h("span", { class: "wiro-muted", "aria-hidden": "true", title: "required" }, " *"));
  const back = h("button", { type: "button", class: "wiro-back", hidden: true, "aria-label": `Reset ${plan.label} to its default`, title: "Back to the default" }, "reset");
  const words = h("div", { class: "wiro-words", hidden: true });
  const about = h("p", { class: "wiro-hint", hidden: true, dir: "auto" });
  const error = h("div", { class: "wiro-err", id: errorId, hidden: true, role: plan.kind === "files" ? "alert" : null });
  const sample = plan.sample ? h("button", { type: "button", class: "wiro-link", on: { click: () => {
    put(model, "value", plan.sample);
    control.focusNode.focus();
  } } }, "Use the sample") : null;
  const wide = ["prompt", "textarea", "files", "pairs", "choices"].includes(plan.kind);
  const node = h(
    "div",
    { class: `wiro-field${wide ? " wiro-wide" : ""}`, "data-name": plan.id },
    h("div", { class: "wiro-lab" }, label, name ? h("code", { title: "the name to type" }, name) : null, count),
    control.node,
    h("div", { class: "wiro-hintrow" }, hint, sample, back),
    about,
    plan.note ? h("p", { class: "wiro-hint" }, plan.note) : null,
    words,
    error,
  );
  setAttribute(control.focusNode, "aria-describedby", describedBy);
  if (isGroup && plan.kind !== "choices") setAttribute(control.focusNode, "aria-label", plan.kind === "files" ? `${plan.label}${plan.required ? ", required" : ""}: choose file` : null);
  back.addEventListener("click", () => {
    put(model, "value", plan.kind === "files" ? [] : plan.kind === "pairs" ? {} : plan.default ?? "");
    control.focusNode.focus();
  });
  const showWords = (value) => {
    if (!plan.options || plan.kind === "choices") return;
    const [, , description, triggers] = findOption(plan, value);
    setText(about, description);
    setShown(about, Boolean(description));
    setShown(words, triggers.length > 0 && form.hasPrompt());
    words.replaceChildren(h("span", {}, "Trigger words, click to add to the prompt:"), ...triggers.map((word) => h(
      "button", { type: "button", class: "wiro-chip", on: { click: () => form.addToPrompt(word) } }, word)));
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
        put(model, "value", plan.kind === "number" || plan.kind === "range" ? Number(near) : near);
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
    isAhead: control.isAhead ?? (() => false),
    takeAddress: control.takeAddress ?? (() => ""),
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

/** The nodes of several fields, by group where there are enough for headings. */
export function groupNodes(plans, fields, withHeads) {
  if (!withHeads) return plans.length ? [h("div", { class: "wiro-group" }, h("div", { class: "wiro-grid" }, ...plans.map((plan) => fields.get(plan.id).node)))] : [];
  return headed(grouped(plans)).map(([heading, members]) => {
    const headId = freshId("g");
    return h("div", { class: "wiro-group", role: "group", "aria-labelledby": heading ? headId : null },
      heading ? h("h4", { id: headId, dir: "auto" }, heading) : null,
      h("div", { class: "wiro-grid" }, ...members.map((plan) => fields.get(plan.id).node)));
  });
}
