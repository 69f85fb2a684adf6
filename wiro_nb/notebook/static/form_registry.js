/** What draws the fields of a form, by the form's key, for fields shown on their own; each widget's script finds the same registry. */
const forms = (globalThis[Symbol.for("wiro_nb.forms.2")] ??= new Map());

function entryOf(key) {
  if (!forms.has(key)) forms.set(key, Promise.withResolvers());
  return forms.get(key);
}

/** Keeps the function that draws a form's fields; a later one takes its place. */
export function registerForm(key, drawField) {
  entryOf(key).resolve(drawField);
  forms.delete(key);
  entryOf(key).resolve(drawField);
}

/** @returns {Promise<Function>} resolves once the form is there */
export const formByKey = async (key) => entryOf(key).promise;
