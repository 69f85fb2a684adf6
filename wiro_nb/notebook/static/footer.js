/**
 * Everything below the fields: Run with its price, copying, varying, presets, the budget, and what is said.
 */
import { h, icon, button, setText, setShown, setAttribute, setMoneyText } from "./dom.js";

const SLOW_KERNEL_MS = 1500;
const DOUBLE_CLICK_MS = 700;

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
export function makeFooter(model, form) {
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
