"""Which run a request continues."""

from __future__ import annotations

from tests.manager_tools import submit
from wiro_nb.notebook.run.submit import parent_of
from wiro_nb.session.manager import Manager


def test_an_output_given_as_an_input_names_the_run_that_made_it(manager: Manager) -> None:
    """Its content does not: a model that takes pictures is sent a frame of the clip."""
    run = submit(manager, "a cat").wait(60)
    assert parent_of({"inputImage": run.outputs[0]}, manager) == {"run_id": run.id, "output": 0}
    assert parent_of({"inputImage": [run]}, manager) == {"run_id": run.id, "output": 0}
    assert parent_of({"prompt": "a dog"}, manager) is None
