/** The forms of this page by key, for fields that are shown on their own; each widget's script finds the same registry. */
const SHARED = Symbol.for("wiro_nb.forms.1");
const registry = () => (globalThis[SHARED] ??= { forms: new Map(), waiting: new Map() });

export function registerForm(key, form) {
  const { forms, waiting } = registry();
  forms.set(key, form);
  for (const resolve of waiting.get(key) ?? []) resolve(form);
  waiting.delete(key);
}

export function formByKey(key) {
  const { forms, waiting } = registry();
  if (forms.has(key)) return Promise.resolve(forms.get(key));
  return new Promise((resolve) => waiting.set(key, [...(waiting.get(key) ?? []), resolve]));
}
