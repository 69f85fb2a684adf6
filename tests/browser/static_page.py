"""Draws widgets on a plain page, with their real scripts, styles and state and neither kernel nor server."""

from __future__ import annotations

import base64
import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ipywidgets import Widget
from PIL import Image

from wiro_nb.notebook.widgets import OutputWidget

SCRIPT = """async ([widgets, shown, scripts, styles, files]) => {
    window.sent ??= [];
    window.saved ??= [];
    class Model {
        constructor(id, state) {
            Object.assign(this, { id, state, changed: {}, handlers: new Map(), widget_manager: manager });
        }
        get(name) { return this.state[name]; }
        set(name, value) {
            if (JSON.stringify(this.state[name]) === JSON.stringify(value)) return;
            this.state[name] = this.changed[name] = value;
            this.fire(`change:${name}`, this, value);
        }
        save_changes() {
            window.saved.push({ id: this.id, ...this.changed });
            this.changed = {};
        }
        send(content) { window.sent.push({ id: this.id, ...content }); }
        on(events, handler) {
            for (const event of events.split(' ')) this.handlers.set(event, [...this.listeners(event), handler]);
        }
        off(events, handler) {
            for (const event of events.split(' '))
                this.handlers.set(event, this.listeners(event).filter((other) => other !== handler));
        }
        listeners(event) { return this.handlers.get(event) ?? []; }
        fire(event, ...values) { for (const handler of this.listeners(event)) handler(...values); }
    }
    /** As anywidget does: a view's listeners end with it. */
    const viewOf = (model, signal) => {
        const own = [];
        signal.addEventListener('abort', () => own.forEach(([events, handler]) => model.off(events, handler)));
        const { get, set, save_changes, send, off } = Object.fromEntries(
            ['get', 'set', 'save_changes', 'send', 'off'].map((name) => [name, model[name].bind(model)]));
        const on = (events, handler) => { own.push([events, handler]); model.on(events, handler); };
        return { get, set, save_changes, send, on, off, widget_manager: manager };
    };
    const render = (module, model, el, { signal }) => {
        const getModel = async (ref) => viewOf(models.get(ref.replace(/^anywidget:/, '')), signal);
        return module.default.render({ model: viewOf(model, signal), el, signal, host: { getModel } });
    };
    const models = new Map();
    const urls = {};
    for (const [path, base64] of Object.entries(files)) {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        urls[path] = URL.createObjectURL(new Blob([bytes], { type: path.endsWith('.mp4') ? 'video/mp4' : '' }));
    }
    const urlResolver = {
        resolveUrl: async (path) => decodeURIComponent(path), getDownloadUrl: async (path) => urls[path] ?? '',
    };
    const load = (id) => import(URL.createObjectURL(new Blob([scripts[id]], { type: 'text/javascript' })));
    const create_view = async (model) => {
        const el = document.createElement('div');
        const ending = new AbortController();
        // As with anywidget, the view is there before it is drawn.
        const drawn = load(model.id).then((module) => render(module, model, el, ending));
        return { el, remove: () => { ending.abort(); drawn.then((end) => end?.()); el.remove(); } };
    };
    const manager = {
        get_model: async (id) => models.get(id), all: () => models.values(), create_view, context: { urlResolver },
    };
    for (const [id, state] of Object.entries(widgets)) models.set(id, new Model(id, state));
    window.model = models.get(shown);
    window.receive = (content) => window.model.fire('msg:custom', content, []);
    window.setTrait = (name, value, id = shown) => models.get(id).set(name, value);
    const style = document.createElement('style');
    style.textContent = styles;
    document.head.append(style);
    const el = document.createElement('div');
    document.body.append(el);
    const module = await load(shown);
    const { signal } = new AbortController();
    module.default.initialize?.({ model: viewOf(window.model, signal), signal });
    await render(module, window.model, el, { signal });
}"""


def jpeg_uri(colour: tuple[int, int, int]) -> str:
    """Returns a small picture of one colour as a data URI."""
    picture = io.BytesIO()
    Image.new("RGB", (104, 60), colour).save(picture, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(picture.getvalue()).decode()}"


class StaticPage:
    """A page with widgets.

    Attributes:
        page: Playwright's page.
    """

    def __init__(self, page: Any) -> None:
        self.page = page

    def show(self, widget: Any, *parts: Widget, files: Mapping[str, bytes] | None = None) -> Any:
        """Draws a widget below those drawn before.

        Args:
            widget: The widget.
            *parts: Further widgets that its script asks for.
            files: Files beside the notebook, by path.

        Returns:
            Playwright's page.
        """
        states = {item.model_id: _plain_state(item) for item in (widget, *parts)}
        encoded = {path: base64.b64encode(data).decode() for path, data in (files or {}).items()}
        scripts = {item.model_id: item._esm for item in (widget, *parts) if isinstance(item, OutputWidget)}
        self.page.evaluate(SCRIPT, [states, widget.model_id, scripts, widget._css, encoded])
        return self.page

    def use_theme(self, theme: str) -> None:
        """Sets the colours and fonts of JupyterLab's theme "light" or "dark"."""
        name = f"share/jupyter/lab/themes/@jupyterlab/theme-{theme}-extension/index.css"
        styles = (Path(sys.prefix) / name).read_text(encoding="utf-8")
        self.page.add_style_tag(content=styles + "body { background: var(--jp-layout-color0); }")

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """Returns the messages of a type, or with an action, that the script sent."""
        sent = self.page.evaluate("() => window.sent")
        return [message for message in sent if kind in (message.get("type"), message.get("action"))]

    def saved(self, widget: Widget, name: str) -> list[Any]:
        """Returns the values of a trait that the script saved, in order."""
        saved = self.page.evaluate("() => window.saved")
        return [change[name] for change in saved if change["id"] == widget.model_id and name in change]

    def receive(self, content: dict[str, Any]) -> None:
        """Delivers a message of the kernel to the script."""
        self.page.evaluate("(content) => window.receive(content)", content)

    def set_trait(self, widget: Widget, name: str, value: Any) -> None:
        """Delivers a new value of a trait from the kernel."""
        self.page.evaluate("(words) => window.setTrait(...words)", [name, value, widget.model_id])


def _plain_state(widget: Widget) -> dict[str, Any]:
    state = widget.get_state()
    return {name: value for name, value in state.items() if name not in ("_esm", "_css", "layout")}


class StaticPages:
    """One empty page after the other, in one tab for as long as possible: a new one costs half a second of CPU."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self._page: Any = None

    @contextlib.contextmanager
    def open(self) -> Iterator[StaticPage]:
        """Opens an empty page."""
        if self._page is None:
            self._page = self._chromium.new_context(reduced_motion="reduce").new_page()
        page = self._page
        page.set_viewport_size({"width": 1200, "height": 1000})
        errors: list[str] = []

        def note(error: Any) -> None:
            errors.append(str(error))

        page.on("pageerror", note)
        try:
            yield StaticPage(page)
            assert errors == []
        finally:
            page.remove_listener("pageerror", note)
            if page.evaluate("() => String(setTimeout).includes('[native code]')"):
                page.goto("about:blank")
            else:  # a clock of Playwright's stays in the tab
                self.close()

    def close(self) -> None:
        """Closes the tab."""
        if self._page is not None:
            self._page.context.close()
            self._page = None
