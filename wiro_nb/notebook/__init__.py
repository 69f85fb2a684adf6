"""Magics, forms, cards and static output in IPython and Jupyter: the only package that knows widgets.

    magic/       `%wiro` and `%%wiro`: parser, handlers, completion, help
    run/         starting, showing and resuming a run
    form/        the form of a model
    sweep/       the grid of a sweep
    film/        joined clips and films of several shots
    live         outputs that show a widget beside their static form; waiting in the running cell
    compare      comparisons, and runs side by side; `reproduce`: reruns and verification
    models       the model browser
    widgets/     the anywidgets; their scripts and styles are in static/
    extension    the magics and their settings, `%load_ext` and `%unload_ext`
    display      displaying outputs
    bridge       outputs that are updated and repaired; records and budget in the notebook's metadata
    session      where the code runs (live or headless kernel, terminal, plain Python), and the kernel's state

IPython, ipywidgets and anywidget are imported at first use.
"""

from __future__ import annotations

from importlib import import_module

from wiro_nb.display_registry import register_presenter

register_presenter("run", lambda: import_module("wiro_nb.notebook.run.view").show)
register_presenter("extend", lambda: import_module("wiro_nb.notebook.run.actions").extend)
register_presenter("film", lambda: import_module("wiro_nb.notebook.film.view").show)
register_presenter("form_of_run", lambda: import_module("wiro_nb.notebook.form.controller").form_of_run)
register_presenter("sweep", lambda: import_module("wiro_nb.notebook.sweep.view").show)
