/**
 * The part below the fields: Run with its price, copying, the budget, and messages.
 */
import { h, icon, button, makeState, moneyNode, setText, setShown, setAttribute, setAttributes, setMoneyText } from "./dom.js";

const SLOW_KERNEL_MS = 1500;
const DOUBLE_CLICK_MS = 700;

function budgetNode() {
  const text = h("span");
  const bar = h("div", { class: "wiro-bar wiro-bar-still", role: "meter", "aria-label": "Spent in this notebook", "aria-valuemin": "0", "aria-valuemax": "100" }, h("i"));
  const node = h("div", { class: "wiro-budget wiro-push", hidden: true }, text, bar);
  const show = (budget) => {
    setShown(node, budget?.text);
    if (!budget?.text) return;
    setMoneyText(text, budget.text);
    bar.firstElementChild.style.width = `${Math.round(budget.share * 1000) / 10}%`;
    setAttributes(bar, { "aria-valuenow": Math.round(budget.share * 100), "aria-valuetext": budget.text });
  };
  return { node, show };
}

/** What the newest run is doing, with buttons that show and cancel it. */
function makeRunState(results) {
  const state = makeState(true);
  const id = h("code", { class: "wiro-muted" });
  let card = null;
  const cancel = button("Cancel run", { icon: "cross", kind: "wiro-btn-s wiro-btn-muted", onClick: () => card.send({ action: "cancel" }) });
  const node = h("div", { class: "wiro-row wiro-latest", hidden: true }, state.node, id,
    button("Show", { kind: "wiro-btn-s", onClick: results.showOpened }), cancel);
  const draw = () => {
    const now = card.get("state");
    setShown(node, true);
    state.draw(now, now.percent === null || now.final ? now.label : `${now.label} ${Math.round(now.percent)}%`);
    setText(id, now.run);
    setShown(cancel, now.actions.some((action) => action.id === "cancel" && !action.off));
  };
  return { node, follow: (newest) => {
    card = newest;
    card.on("change:state", () => card === newest && draw());
    draw();
  } };
}

/** Everything below the fields. */
export function makeFooter(model, form, results) {
  const priceOn = h("span");
  const run = h("button", { type: "button", class: "wiro-btn wiro-btn-run", on: { click: () => press() } }, icon("play", true), "Run ", h("span", { class: "wiro-price-on" }, priceOn));
  const problems = h("div", { class: "wiro-err", role: "status" });
  const notice = h("div", { class: "wiro-notice", role: "status" });
  const copyPlace = h("div");
  const budget = budgetNode();
  const latest = makeRunState(results);
  const copy = (what) => model.send({ type: "copy", what, ...form.values() });
  let slow = null;
  const showMessage = (lines, variant = "") => {
    clearTimeout(slow);
    setAttribute(notice, "class", `wiro-notice${variant === "error" ? " wiro-err" : ""}`);
    notice.replaceChildren(...lines.map((line) => moneyNode("div", line, { dir: "auto" })));
  };
  // A second press counts only once the first was answered and a double click is over: a run costs money.
  let [isAnswered, isCalm] = [true, true];
  const showBusy = () => setAttribute(run, "aria-busy", !(isAnswered && isCalm) && "true");
  const onAnswer = () => {
    isAnswered = true;
    showBusy();
  };
  const press = () => {
    if (!isAnswered || !isCalm) return;
    const waiting = [...form.fields.values()].find((field) => field.isBusy());
    if (waiting) return showMessage([`${waiting.plan.label}: a file is still on its way. Press Run when it has arrived.`], "error");
    // A file that was not taken is pointed out once: without it the run is another one than was asked for.
    const refused = [...form.fields.values()].map((field) => field.refusal).filter((node) => node && !node.hidden);
    refused.forEach((node) => setShown(node, false));
    if (refused.length) return showMessage([...refused.map((node) => node.textContent), "Nothing was sent. Press Run again to run without it."], "error");
    isAnswered = isCalm = false;
    showBusy();
    setTimeout(() => {
      isCalm = true;
      showBusy();
    }, DOUBLE_CLICK_MS);
    showMessage([]);
    model.send({ type: "run", ...form.values() });
    slow = setTimeout(() => showMessage(["The kernel is busy. The run starts when it is free."]), SLOW_KERNEL_MS);
  };
  const node = h("div", { class: "wiro-sec wiro-foot" },
    h("div", { class: "wiro-row" }, run,
      button("Copy as cell", { icon: "copy", onClick: () => copy("cell") }),
      button("Copy as Python", { kind: "wiro-btn-muted", onClick: () => copy("python") }),
      button("Reset", { icon: "reset", kind: "wiro-btn-muted", title: "All settings back to the model's defaults", onClick: () => model.send({ type: "reset" }) }),
      budget.node),
    problems, latest.node, notice, copyPlace);
  const show = () => {
    setMoneyText(priceOn, model.get("price"));
    const spent = model.get("budget");
    budget.show(spent);
    setAttribute(run, "aria-disabled", spent?.reached && "true");
    if (spent?.reached) showMessage([spent.hint]);
  };
  return { node, show, problems, showMessage, copyPlace, run: press, follow: latest.follow, onAnswer };
}
