"""Fixtures of this folder."""

from tests.manager_tools import make_manager, manager, own_folders, point_at

__all__ = ["make_manager", "manager", "own_folders", "point_at"]
