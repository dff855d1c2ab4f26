"""The command line. Each command is a module; `main` knows them all."""

from stoker.cli.main import main

__all__ = ["main"]
