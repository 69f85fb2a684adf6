/** A field shown on its own: the script of its form draws it. */

const SHARED = Symbol.for("wiro_nb.forms.1");

/** Forms of this page by key; the first script makes the registry. */
function formRegistry() {
  globalThis[SHARED] ??= { forms: new Map(), waiting: new Map() };
  return globalThis[SHARED];
}

function formByKey(key) {
  const registry = formRegistry();
  if (registry.forms.has(key)) return Promise.resolve(registry.forms.get(key));
  return new Promise((resolve) => {
    registry.waiting.set(key, [...(registry.waiting.get(key) ?? []), resolve]);
  });
}

export default {
  async render({ model, el, signal }) {
    const form = await formByKey(model.get("form_key"));
    if (signal?.aborted) return undefined;
    return form.drawAlone(model.get("name"), el);
  },
};
