/** A field shown on its own: the script of its form draws it. */
import { formByKey } from "./form_registry.js";

export default {
  async render({ model, el, signal }) {
    const form = await formByKey(model.get("form_key"));
    if (signal?.aborted) return undefined;
    return form.drawAlone(model.get("name"), el);
  },
};
