"""Fixtures of this folder."""

from tests.manager_tools import own_folders, point_at
from tests.unit.cli.commands import command

__all__ = ["command", "own_folders", "point_at"]
