"""The notebook's side: magics, forms, cards, static outputs, completion.

The only room that imports IPython, ipywidgets and anywidget, each at first use; it may import every room
below it (`runs`, `provenance`, `api`, `schema`). The rooms below never import it: a run that shows itself
finds `display` by name.

    grammar, arguments     the table of commands, and reading what was typed (pure)
    words, markup,         numbers in words, and static markup that survives an untrusted notebook (pure)
    static_html, tables_html, errors_html
    host, session          where the code runs; what this kernel remembers
    actions, lookups       what commands and their Python twins do
    commands, magics,      the way from a cell to an action
    completion, extension
    display, bridge        the way from a run back to the notebook
    form*, forms, widgets  fields and forms
"""
