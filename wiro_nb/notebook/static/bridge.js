/**
 * Keeps `metadata.wiro` of the open notebook in step with the kernel and repairs outputs that missed
 * the end of their run. Everything is guarded: where there is no such document it does nothing.
 * Writes happen only when something differs, so that opening a notebook does not make it unsaved.
 */
import { inTurn, keepRank } from "./leader_election.js";
import { dropViews } from "./live_views.js";

const KEY = "wiro";
const FORM_KEY = "wiro_form";

/** JSON with sorted keys: equal for equal data whatever the order of its keys. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.keys(value).sort().filter((key) => value[key] !== undefined)
      .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** The notebook's model (JupyterLab, Notebook 7), or null. */
function documentModel(model) {
  const context = model.widget_manager?.context;
  const document = context?.model;
  return document && typeof document.sharedModel?.setMetadata === "function" ? { document, context } : null;
}

function readMetadata(document) {
  const value = document.sharedModel.getMetadata(KEY);
  return value && typeof value === "object" ? value : {};
}

function plain(value) {
  return value === undefined ? {} : JSON.parse(JSON.stringify(value));
}

/** Every output model of the notebook that a run or a form wrote, with its record and the form's key. */
function* ownOutputs(document) {
  for (const cell of document.cells ?? []) {
    const outputs = cell.type === "code" ? cell.outputs : null;
    for (let index = 0; outputs && index < outputs.length; index += 1) {
      const output = outputs.get(index);
      const mark = output?.metadata?.[KEY];
      const form = output?.metadata?.[FORM_KEY];
      if (mark?.run_id || form) yield { outputs, index, output, mark, form };
    }
  }
}

/** Those of them that name a run. */
const runOutputs = (document) => [...ownOutputs(document)].filter(({ mark }) => mark?.run_id);

const ORDER = ["planned", "submitting", "uncertain", "submitted", "cancelled", "failed", "succeeded"];

/** True when a record is at least as far along as the one already there, and says something else. */
function isNewer(record, present) {
  if (!present) return true;
  if (ORDER.indexOf(record.status) < ORDER.indexOf(present.status)) return false;
  return canonical(record) !== canonical(present);
}

/** Adds records; the latest `limit` stay (run ids sort by time). Returns true when the notebook changed. */
function mergeRuns(document, { runs, limit }) {
  const present = plain(readMetadata(document));
  const known = present.runs && typeof present.runs === "object" ? present.runs : {};
  const merged = { ...known };
  for (const [run, record] of Object.entries(runs)) if (isNewer(record, known[run])) merged[run] = record;
  const all = Object.keys(merged).sort();
  const latest = all.slice(Math.max(0, all.length - limit));
  const omitted = Math.max(Number(present.omitted) || 0, all.length - latest.length);
  const wanted = { ...present, format: 1, runs: Object.fromEntries(latest.map((run) => [run, merged[run]])) };
  if (omitted > 0) wanted.omitted = omitted;
  if (canonical(wanted) === canonical(present)) return false;
  document.sharedModel.setMetadata(KEY, wanted);
  return true;
}

/** Replaces the outputs of a run that show an older state, but not those of living forms; returns how many. */
function repair(document, { run_id: run, data, metadata, live_forms: live }) {
  let count = 0;
  for (const { outputs, index, mark, form } of runOutputs(document)) {
    if (mark.run_id !== run || live?.includes(form) || !isNewer(metadata?.[KEY] ?? {}, mark)) continue;
    outputs.set(index, { output_type: "display_data", data, metadata });
    count += 1;
  }
  return count;
}

/** Replaces the output of a form where it shows something else than it should. */
function repairForm(document, { form: key, data, metadata }) {
  for (const { outputs, index, output, form } of [...ownOutputs(document)]) {
    if (form !== key || canonical([output.data, output.metadata]) === canonical([data, metadata])) continue;
    outputs.set(index, { output_type: "display_data", data, metadata });
  }
}

/** Writes or takes out the budget; the rest of the metadata stays. */
function setBudget(document, { budget }) {
  const present = plain(readMetadata(document));
  const wanted = { ...present, format: 1 };
  if (typeof budget === "string") wanted.budget = budget;
  else delete wanted.budget;
  if (canonical(wanted) === canonical(present) || (!budget && present.budget === undefined)) return;
  document.sharedModel.setMetadata(KEY, wanted);
}

function handshake(document, context, page) {
  const known = {};
  for (const [run, record] of Object.entries(readMetadata(document).runs ?? {})) known[run] = String(record?.status ?? "");
  const outputs = {};
  for (const { mark } of runOutputs(document)) outputs[mark.run_id] = String(mark.status ?? "");
  const forms = [...ownOutputs(document)].map(({ form }) => form).filter(Boolean);
  return { type: "handshake", page, known, outputs, forms, notebook_ok: true, read_only: Boolean(document.readOnly), path: String(context.path ?? ""),
    budget: String(readMetadata(document).budget ?? "") };
}

const CHANGES = { runs: mergeRuns, repair, repair_form: repairForm, budget: setBudget };

/** The page that ran the cell hears of its outputs by itself and brings them up to date. */
const OUTPUTS = new Set(["repair", "repair_form"]);

/** What a message changes: a later one with the same key says it anew. */
const keyOf = ({ type, runs, run_id: run, form }) => [type, run, form, ...Object.keys(runs ?? {})].join(" ");

function initialize({ model }) {
  const found = documentModel(model);
  if (!found) {
    model.send({ type: "handshake", known: {}, outputs: {}, notebook_ok: false });
    return undefined;
  }
  const { document, context } = found;
  const page = globalThis.crypto?.randomUUID?.() ?? String(Math.random());
  const onMessage = (content) => {
    if (document.isDisposed || document.readOnly) return;
    const change = CHANGES[content?.type];
    if (!change) return;
    keepRank(document, content.pages ?? [page], page);
    inTurn(document, keyOf(content), () => {
      try {
        change(document, content);
      } catch (error) {
        console.warn("wiro_nb: the notebook was not changed", error);
      }
    }, OUTPUTS.has(content.type) ? 1 : 0);
  };
  model.on("msg:custom", onMessage);
  Promise.resolve(context.ready).then(() => {
    model.send(handshake(document, context, page));
    const manager = model.widget_manager;
    const drop = () => {
      if (typeof manager?.has_model !== "function" || document.isDisposed || document.readOnly) return;
      // Views whose kernel is gone: those with a static form show that again.
      const isDead = (id, metadata) => metadata?.[KEY] && !manager.has_model(id);
      inTurn(document, "dead views", () => dropViews(document, isDead));
    };
    // Until a page has its widgets back, living ones look dead.
    if (manager?.restoredStatus === false) manager.restored?.connect(drop);
    else drop();
  });
  return () => model.off("msg:custom", onMessage);
}

export default { initialize };
