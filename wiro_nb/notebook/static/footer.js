/**
 * The part below the fields: Run with its price, copying, the budget, and messages.
 */
import { h, icon, button, makeState, moneyLine, setText, setShown, setAttribute, setMoneyText } from "./dom.js";

const SLOW_KERNEL_MS = 1500;
const DOUBLE_CLICK_MS = 700;

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

/** What the newest run is doing, with buttons that show and cancel it. */
function makeRunState(results) {
  const state = makeState(true);
  const id = h("code", { class: "wiro-muted" });
  const cancel = button("Cancel run", { icon: "cross", kind: "wiro-btn-s wiro-btn-muted", onClick: () => card.send({ action: "cancel" }) });
  const node = h("div", { class: "wiro-row wiro-latest", hidden: true }, state.node, id,
    button("Show", { kind: "wiro-btn-s", onClick: results.showOpened }), cancel);
  let card = null;
  const draw = () => {
    const now = card.get("state");
    setShown(node, true);
    state.draw(now, now.percent === null || now.final ? now.label : `${now.label} ${Math.round(now.percent)}%`);
    setText(id, now.run);
    setShown(cancel, now.actions.some((action) => action.id === "cancel" && !action.off));
  };
  return { node, follow: (newest) => {
    card?.off("change:state", draw);
    card = newest;
    card.on("change:state", draw);
    draw();
  } };
}

/** Everything below the fields. */
export function makeFooter(model, form, results) {
  const priceOn = h("span", {});
  const run = h("button", { type: "button", class: "wiro-btn wiro-btn-run" }, icon("play", true), "Run ", h("span", { class: "wiro-price-on" }, priceOn));
  const problems = h("div", { class: "wiro-err", role: "status" });
  const notice = h("div", { class: "wiro-notice", role: "status" });
  const copyPlace = h("div", {});
  const budget = budgetNode();
  const copy = (what) => model.send({ type: "copy", what, ...form.values() });
  let slow = null;
  const showMessage = (lines, variant = "") => {
    clearTimeout(slow);
    setAttribute(notice, "class", `wiro-notice${variant === "error" ? " wiro-err" : ""}`);
    notice.replaceChildren(...lines.map((line) => moneyLine(line)));
  };
  // A second press counts only once the first was answered and a double click is over: a run costs money.
  let open = 0;
  const release = () => {
    open -= 1;
    if (open === 0) setAttribute(run, "aria-busy", null);
  };
  let answered = () => {};
  const press = () => {
    if (open > 0) return;
    const waiting = form.waitingField();
    if (waiting) {
      showMessage([`${waiting.plan.label}: a file is still on its way. Press Run when it has arrived.`], "error");
      return;
    }
    open = 2;
    setAttribute(run, "aria-busy", "true");
    setTimeout(release, DOUBLE_CLICK_MS);
    answered = () => {
      answered = () => {};
      release();
    };
    showMessage([]);
    model.send({ type: "run", ...form.values() });
    slow = setTimeout(() => showMessage(["The kernel is busy. The run starts when it is free."]), SLOW_KERNEL_MS);
  };
  run.addEventListener("click", press);
  const latest = makeRunState(results);
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
    setAttribute(run, "aria-disabled", spent?.reached ? "true" : null);
    if (spent?.reached) showMessage([spent.hint]);
  };
  return { node, show, problems, showMessage, copyPlace, run: press, follow: latest.follow, onAnswer: () => answered() };
}
