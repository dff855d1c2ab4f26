"""`stoker import`, `search` and `memories` where no service runs: the data folder is opened."""

import re

import pytest
from click.testing import CliRunner

from stoker.cli.main import main
from stoker.cli.reaching import Where


@pytest.fixture
def stoker(tmp_path, monkeypatch):
    """Run a command on a data folder of its own; no service is where one is looked for first."""
    monkeypatch.setattr("stoker.cli.reaching.Where", _nowhere)

    def run(*arguments, **options):
        data = ["--data", str(tmp_path / "data")]
        return CliRunner().invoke(main, [*arguments, *data], catch_exceptions=False, **options)

    return run


def _nowhere(_url, *rest):
    return Where("http://127.0.0.1:1", *rest)


def test_what_was_imported_is_found(stoker, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boats.md").write_text("Mira's boat is called Heron.\n")
    (notes / "broken.pdf").write_bytes(b"%PDF-1.7 nonsense")

    imported = stoker("import", str(notes))
    found = stoker("search", "what", "is", "the", "boat", "called")

    assert imported.exit_code == 1  # one of the two could not be read
    assert "1 failed, 1 imported" in imported.output
    assert "broken.pdf" in imported.output
    assert found.output.startswith("Mira's boat is called Heron.")


def test_standard_input_is_imported_under_a_name(stoker):
    imported = stoker("import", "-", "--name", "note.md", input="Bo keeps bees.\n")

    assert imported.exit_code == 0
    assert "1 imported; 1 passages" in imported.output


def test_a_statement_has_a_history_and_can_be_forgotten(stoker):
    added = stoker("memories", "add", "Mira is allergic to walnuts.", "--subject", "Mira")
    id = re.search(r"til_\w+", added.output)[0]

    history = stoker("memories", "history", id)
    forgotten = stoker("memories", "forget", id)
    gone = stoker("memories", "history", id)

    assert "active" in history.output
    assert "1 tiles" in forgotten.output
    assert (gone.exit_code, "no such tile" in gone.output) == (1, True)


def test_an_export_is_restored_elsewhere(stoker, tmp_path):
    stoker("memories", "add", "Mira is allergic to walnuts.")
    file = tmp_path / "all.jsonl"
    stoker("memories", "export", "-o", str(file))
    elsewhere = ["--data", str(tmp_path / "other")]

    restored = CliRunner().invoke(main, ["memories", "restore", str(file), *elsewhere])
    found = CliRunner().invoke(main, ["search", "walnuts", *elsewhere])

    assert "3 records were new" in restored.output
    assert "walnuts" in found.output


def test_a_service_that_was_named_and_is_not_there_is_an_error(tmp_path):
    command = ["search", "x", "--url", "http://127.0.0.1:1", "--data", str(tmp_path)]

    result = CliRunner().invoke(main, command)

    assert result.exit_code == 6
    assert "no answer" in result.output
