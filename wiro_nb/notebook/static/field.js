/** A field shown on its own: the script of its form draws it. */
import { formByKey } from "./form_registry.js";

export default {
  async render({ model, ...view }) {
    const drawField = await formByKey(model.get("form_key"));
    if (!view.signal.aborted) await drawField(model.get("name"), view);
  },
};
