"""The command `progym`: one file a verb. It may import every layer, and none imports it."""

from progym.cli.main import main

__all__ = ["main"]
