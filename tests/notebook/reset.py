"""Makes a kernel as good as new; in a module of its own because nbval's process imports no more than it needs."""

RESET = """
import os
if "wiro_nb" in get_ipython().extension_manager.loaded:
    get_ipython().run_line_magic("unload_ext", "wiro_nb")
get_ipython().config.pop("WiroMagics", None)  # what `%config` set
os.environ.clear()
os.environ.update({environment!r})
os.chdir({folder!r})
get_ipython().reset()
"""
