"""The reference pages say what the code does: each is compared with the code that it describes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from stoker.api.app import App
from stoker.api.problems import problem
from stoker.cli import main
from stoker.cli.outcomes import EXIT_CODES, REFUSED
from stoker.config import Config
from stoker.core import errors
from stoker.core.climb import ClimbReason
from stoker.core.jobs import TRANSITIONS, JobState
from stoker.core.reasons import Explanation, Reason
from stoker.dashboard.routes import Dashboard
from stoker.fabric import EngineSetup, Fabric
from stoker.runtime.clock import SystemClock
from stoker.runtime.recorder import EventLog
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
SRC = ROOT / "src/stoker"
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"))
    if path.is_file()
)

REFUSALS = list(Reason)[list(Reason).index(Reason.EXCEEDS_CAPACITY) :]


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def first_column(text: str) -> list[str]:
    """The names in the first column of every table, in order."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def render_states(transitions: Mapping[JobState, frozenset[JobState]]) -> str:
    """Draw the job states as mermaid does, in the order in which they are defined."""
    lines = ["stateDiagram-v2", "    [*] --> scheduled", "    [*] --> available"]
    for before in JobState:
        after = transitions[before]
        lines += [f"    {before.value} --> {state.value}" for state in JobState if state in after]
        if not after:
            lines.append(f"    {before.value} --> [*]")
    return "\n".join(lines)


def written_statuses() -> dict[str, str]:
    """Code to the HTTP column of the errors page."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \|(?: [^|]+ \|){2}$", page("errors.md"), re.MULTILINE
    )
    return dict(rows)


def error_classes() -> Iterator[type[errors.StokerError]]:
    waiting = [errors.StokerError]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += found.__subclasses__()


def codes_in_python(path: Path) -> Iterator[str]:
    """Codes given to one instance: `Conflict(…, code="…")`, `JobError("…", …)`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if called == "JobError":
            values += node.args[:1]
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def codes_in_sql(path: Path) -> Iterator[str]:
    for assignment in re.findall(r"error_code = (.*)", path.read_text(encoding="utf-8")):
        yield from re.findall(r"'(\w+)'", assignment)


def test_the_reasons_page_lists_exactly_the_reasons_in_their_order() -> None:
    assert first_column(page("reasons.md")) == [reason.value for reason in Reason]


def test_the_jobs_page_lists_exactly_the_states_and_which_are_final() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ?(yes)? ?\|$", page("jobs.md"), re.MULTILINE)

    assert rows == [(state.value, "yes" if state.is_final else "") for state in JobState]


def test_the_state_diagram_is_the_transition_table() -> None:
    diagrams = re.findall(r"```mermaid\n(.*?)\n?```", page("jobs.md"), re.DOTALL)

    assert diagrams == [render_states(TRANSITIONS)]


def test_the_diagram_shows_a_transition_that_is_taken_away() -> None:
    fewer = TRANSITIONS | {JobState.RETRYABLE: frozenset({JobState.AVAILABLE})}

    assert "retryable --> discarded" in render_states(TRANSITIONS)
    assert "retryable --> discarded" not in render_states(fewer)


def test_the_errors_page_lists_every_code_once() -> None:
    written = first_column(page("errors.md"))
    needed = {error.code for error in error_classes()}
    # `Rejected` takes its code from the reason; `StokerError.code` of it is only inherited.
    needed |= {reason.value for reason in REFUSALS}
    for path in SRC.rglob("*.py"):
        needed |= set(codes_in_python(path))
    for path in SRC.rglob("*.sql"):
        needed |= set(codes_in_sql(path))

    assert sorted(needed - set(written)) == []
    assert sorted(written) == sorted(set(written))


def test_every_error_has_a_status_or_says_that_it_has_none() -> None:
    rows = written_statuses()

    assert list(rows) == first_column(page("errors.md"))
    plain = re.compile(r"[2-5]\d\d\b|the engine's own|–")
    assert {code: status for code, status in rows.items() if not plain.match(status)} == {}


def refusal(reason: Reason) -> errors.Rejected:
    return errors.Rejected(Explanation(reason), retry_after_s=3.0)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest("no"),
        errors.NotFound("no"),
        errors.Conflict("no"),
        errors.Conflict("no", code="idempotency_conflict"),
        errors.EngineUnreachable("no"),
        errors.EngineInterrupted("no"),
        errors.StoreError("no"),
        errors.StokerError("no"),
        *[refusal(reason) for reason in REFUSALS],
    ],
    ids=lambda error: error.code,
)
def test_the_http_edge_answers_with_the_status_that_the_errors_page_says(
    error: errors.StokerError,
) -> None:
    answer = problem(error, request_id="req_1")

    status, _, retry_after = written_statuses()[error.code].partition(" + ")
    assert answer.status == int(status)
    if retry_after:
        assert b"retry-after" in dict(answer.headers)


def routes() -> set[str]:
    """Every route that the application really has, as the page writes it."""
    clock = SystemClock()
    fabric = Fabric(
        Config(),
        setups={"default": EngineSetup(FakeEngine())},
        store=InMemoryJobStore(),
        clock=clock,
        log=EventLog(),
    )
    return {
        f"{method} {route.path}"
        for route in App(fabric, pages=Dashboard(fabric).routes).routes
        for method in (route.methods or set()) - {"HEAD"}
    }


def test_the_http_page_has_exactly_the_routes_of_the_application() -> None:
    written = re.findall(r"^### `([A-Z]+ /[^`]*)`$", page("http.md"), re.MULTILINE)

    assert sorted(written) == sorted(routes())


def test_the_http_page_has_every_reason_of_the_optimizer() -> None:
    _, _, table = page("http.md").partition("The reasons of a step:")

    assert first_column(table.partition("###")[0]) == [reason.value for reason in ClimbReason]


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it that do something themselves."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from commands(child, f"{name} {child.name}")
    else:
        yield name, command


def test_the_command_line_page_has_exactly_the_commands_and_their_options() -> None:
    sections = dict(
        re.findall(
            r"^## `(stoker \S[^`]*)`\n(.*?)(?=^## |\Z)", page("cli.md"), re.MULTILINE | re.DOTALL
        )
    )
    written = {
        name: re.findall(r"^\| `(--[\w-]+)`", text, re.MULTILINE) for name, text in sections.items()
    }
    real = {
        name: [
            option
            for parameter in command.params
            for option in parameter.opts
            if option[:2] == "--"
        ]
        for name, command in commands(main, "stoker")
    }

    assert {name: sorted(options) for name, options in written.items()} == {
        name: sorted(options) for name, options in real.items()
    }


def test_the_command_line_page_has_every_exit_code() -> None:
    written = {int(code) for code in re.findall(r"^\| (\d) \|", page("cli.md"), re.MULTILINE)}

    assert written == {0, REFUSED, *(code for _, code in EXIT_CODES)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [
        target for target in targets if "://" not in target and not target.startswith("mailto:")
    ]

    assert [target for target in local if not (path.parent / target).exists()] == []


def test_commands_that_the_pages_name_exist() -> None:
    recipes = set(
        re.findall(
            r"^([a-z][\w-]*)(?: [^:\n]*)?:(?!=)", (ROOT / "justfile").read_text(), re.MULTILINE
        )
    )
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = []
    for path in PAGES:
        for kind, name in re.findall(
            r"`(just|make) ([a-z][\w-]*)", path.read_text(encoding="utf-8")
        ):
            if name not in (recipes if kind == "just" else targets):
                unknown.append(f"{path.relative_to(ROOT)}: {kind} {name}")

    assert unknown == []


def line_starts(pattern: str, file: str) -> set[str]:
    return set(re.findall("^" + pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE))
