/**
 * Keeps `metadata.wiro` of the open notebook in step with the kernel and repairs outputs that missed
 * the end of their run. Everything is guarded: where there is no such document it does nothing.
 * Writes happen only when something differs, so that opening a notebook does not make it unsaved.
 */
import { dropViews, inTurn, keepRank, outputsOf, setOutput, withoutView } from "./document.js";

const KEY = "wiro";
const [FORM_KEY, VIEW] = ["wiro_form", "wiro_view"];

/** JSON with sorted keys: equal for equal data whatever the order of its keys. */
function canonical(data) {
  const sorted = (_key, value) =>
    value && typeof value === "object" && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
  return JSON.stringify(data, sorted) ?? "null";
}

/** What the notebook's metadata hold of us, as plain data that can be changed. */
function readMetadata(notebook) {
  const value = notebook.sharedModel.getMetadata(KEY);
  return value && typeof value === "object" ? JSON.parse(JSON.stringify(value)) : {};
}

/** Writes metadata where they differ from what is there. */
function writeMetadata(notebook, wanted) {
  if (canonical(wanted) !== canonical(readMetadata(notebook))) notebook.sharedModel.setMetadata(KEY, wanted);
}

/** Every output of the notebook that a run, a form or a view wrote, with its record and the key of the form or view. */
function ownOutputs(notebook) {
  const marked = outputsOf(notebook).map((place) => ({ ...place, mark: place.output?.metadata?.[KEY], key: place.output?.metadata?.[FORM_KEY] ?? place.output?.metadata?.[VIEW]?.key }));
  return marked.filter(({ mark, key }) => mark?.run_id || key);
}

/** Those of them that name a run. */
const runOutputs = (notebook) => ownOutputs(notebook).filter(({ mark }) => mark?.run_id);

const ORDER = ["planned", "submitting", "uncertain", "submitted", "cancelled", "failed", "succeeded"];

/** True when a record is at least as far along as the one already there, and says something else. */
function isNewer(record, present) {
  if (!present) return true;
  return ORDER.indexOf(record.status) >= ORDER.indexOf(present.status) && canonical(record) !== canonical(present);
}

/** Adds records; the latest `limit` stay (run ids sort by time). */
function mergeRuns(notebook, { runs, limit }) {
  const present = readMetadata(notebook);
  const merged = present.runs && typeof present.runs === "object" ? present.runs : {};
  for (const [run, record] of Object.entries(runs)) if (isNewer(record, merged[run])) merged[run] = record;
  const all = Object.keys(merged).sort();
  const latest = all.slice(Math.max(0, all.length - limit));
  const omitted = Math.max(Number(present.omitted) || 0, all.length - latest.length);
  const wanted = { ...present, format: 1, runs: Object.fromEntries(latest.map((run) => [run, merged[run]])) };
  if (omitted > 0) wanted.omitted = omitted;
  writeMetadata(notebook, wanted);
}

/** Replaces the outputs of a run that show an older state, but not those that forms and views keep up to date. */
function repair(notebook, { run_id: run, data, metadata, live_keys: live }) {
  for (const place of runOutputs(notebook)) {
    if (place.mark.run_id === run && !live?.includes(place.key) && isNewer(metadata?.[KEY] ?? {}, place.mark)) setOutput(place, data, metadata);
  }
}

/** Replaces the output of a form or view where it shows something else than it should. */
function repairOutput(notebook, { key, data, metadata }) {
  const saved = (item) => canonical([withoutView(item.data), item.metadata]);
  for (const place of ownOutputs(notebook)) {
    if (place.key === key && saved(place.output) !== saved({ data, metadata })) setOutput(place, data, metadata);
  }
}

/** Writes or takes out the budget; the rest of the metadata stays. */
function setBudget(notebook, { budget }) {
  const present = readMetadata(notebook);
  if (!budget && present.budget === undefined) return;
  const { budget: _before, ...rest } = present;
  writeMetadata(notebook, { ...rest, format: 1, ...(typeof budget === "string" ? { budget } : {}) });
}

function handshake(notebook, context, page) {
  const { runs, budget } = readMetadata(notebook);
  const known = Object.fromEntries(Object.entries(runs ?? {}).map(([run, record]) => [run, String(record?.status ?? "")]));
  const outputs = Object.fromEntries(runOutputs(notebook).map(({ mark }) => [mark.run_id, String(mark.status ?? "")]));
  const keys = ownOutputs(notebook).map(({ key }) => key).filter(Boolean);
  return { type: "handshake", page, known, outputs, keys, notebook_ok: true, read_only: Boolean(notebook.readOnly), path: String(context.path ?? ""),
    budget: String(budget ?? "") };
}

const CHANGES = { runs: mergeRuns, repair, repair_output: repairOutput, budget: setBudget };

/** What a message changes: a later one with the same key says it anew. */
const keyOf = ({ type, runs, run_id: run, key }) => [type, run, key, ...Object.keys(runs ?? {})].join(" ");

function initialize({ model }) {
  const manager = model.widget_manager;
  const context = manager?.context;
  const notebook = context?.model;
  if (typeof notebook?.sharedModel?.setMetadata !== "function") { // neither JupyterLab nor Notebook 7
    model.send({ type: "handshake", known: {}, outputs: {}, notebook_ok: false });
    return;
  }
  const page = globalThis.crypto?.randomUUID?.() ?? String(Math.random());
  const isWritable = () => !notebook.isDisposed && !notebook.readOnly;
  model.on("msg:custom", (content) => {
    const change = CHANGES[content?.type];
    if (!change || !isWritable()) return;
    keepRank(notebook, content.pages ?? [page], page);
    inTurn(notebook, keyOf(content), () => {
      try {
        change(notebook, content);
      } catch (error) {
        console.warn("wiro_nb: the notebook was not changed", error);
      }
    }, content.type.startsWith("repair") ? 1 : 0); // the page that ran the cell hears of its outputs by itself
  });
  Promise.resolve(context.ready).then(() => {
    model.send(handshake(notebook, context, page));
    // Views whose kernel is gone: those with a static form show that again.
    const isDead = (id, metadata) => metadata?.[KEY] && !manager.has_model(id);
    const drop = () => typeof manager.has_model === "function" && isWritable() && inTurn(notebook, "dead views", () => dropViews(notebook, isDead));
    // Until a page has its widgets back, living ones look dead.
    if (manager.restoredStatus === false) manager.restored?.connect(drop);
    else drop();
  });
}

export default { initialize };
