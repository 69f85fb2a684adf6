"""Fixtures of this folder."""

from tests.manager_tools import own_folders, point_at

__all__ = ["own_folders", "point_at"]
