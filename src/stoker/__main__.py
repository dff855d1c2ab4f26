"""`python -m stoker` is `stoker`."""

from stoker.cli import main

main(prog_name="stoker")
