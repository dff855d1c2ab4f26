"""`stoker doctor`: what to change about host, engine and service, and why, with the figure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from stoker.cli.flags import flags_of
from stoker.cli.remote import print_json, with_json, with_url
from stoker.config import LogConfig
from stoker.doctor.examination import Service, examine_box
from stoker.doctor.facts import Facts
from stoker.doctor.finding import Finding, Severity, size
from stoker.doctor.rules import RULES, examine, worst
from stoker.logs import configure
from stoker.settings import load

_STYLES = {Severity.PROBLEM: "bold red", Severity.WARNING: "yellow", Severity.ADVICE: "cyan"}


@click.command()
@click.option(
    "--engine",
    metavar="[NAME=]URL",
    multiple=True,
    help="An engine to look at, besides those of the configuration.",
)
@click.option("--kind", help="What the engine is: vllm, sglang, llamacpp, trtllm, openai.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--data", metavar="DIR", help="The data folder.")
@with_json
@with_url
def doctor(
    engine: tuple[str, ...],
    file: Path | None,
    url: str,
    *,
    api_key: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Look at host, engines and service, and say what to change.

    Exit code 0: nothing, or advice only; 1: warnings; 2: problems.
    """
    configure(LogConfig(level="error"))
    config = load(file=file, flags=flags_of(options, engine)).config
    source = click.get_current_context().get_parameter_source("url")
    service = Service(url, api_key, is_required=source is not ParameterSource.DEFAULT)
    facts = asyncio.run(examine_box(config, service))
    findings = examine(facts)
    if as_json:
        print_json(document(facts, findings))
    else:
        show(facts, findings, Console())
    raise click.exceptions.Exit(worst(findings))


def document(facts: Facts, findings: Sequence[Finding]) -> dict[str, object]:
    """Facts and findings, for programs."""
    listed = [
        {
            "id": one.id,
            "severity": one.severity.label,
            "about": one.about,
            "what": one.what,
            "measured": one.measured,
            "advice": one.advice,
            "source": one.source,
        }
        for one in findings
    ]
    return {"findings": listed, "facts": facts, "checked": [rule.id for rule in RULES]}


def show(facts: Facts, findings: Sequence[Finding], console: Console) -> None:
    """For people: what was looked at, then each finding with its figure and what to do."""
    for line in _looked_at(facts):
        console.print(Text(line, style="dim"))
    console.print()
    for one in findings:
        head = Text.assemble(
            (f"{one.severity.label.upper():<8}", _STYLES[one.severity]),
            (one.about, "bold"),
            f"  {one.what}  ",
            (one.id, "dim"),
        )
        console.print(head)
        console.print(_indented(Text(one.measured)))
        console.print(_indented(Text(f"→ {one.advice}", style="green")))
        console.print(_indented(Text(f"({one.source})\n", style="dim")))
    console.print(_summary(findings))


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 8), expand=False)


def _looked_at(facts: Facts) -> list[str]:
    host = facts.host
    lines = []
    if host.ram_total_bytes is not None and host.ram_available_bytes is not None:
        available, total = size(host.ram_available_bytes), size(host.ram_total_bytes)
        lines.append(f"host    {available} of {total} RAM available" + _unified(host.unified_name))
    for one in facts.engines:
        parts = [one.kind or "unknown", one.version or "", one.url or "inside the service"]
        if one.probe_s is not None:
            parts.append(f"one token in {one.probe_s * 1e3:.0f} ms")
        if one.kv_tokens is not None:
            parts.append(f"{one.kv_tokens} tokens of KV cache")
        lines.append(f"engine  {one.name}: " + ", ".join(part for part in parts if part))
    service = facts.service
    if service is not None:
        lines.append(f"stoker  {service.url}: " + ("it answers" if service.cause is None else "–"))
    return lines


def _unified(name: str | None) -> str:
    return "" if name is None else f", unified with the GPU ({name})"


def _summary(findings: Sequence[Finding]) -> str:
    counts = {severity: sum(one.severity is severity for one in findings) for severity in Severity}
    quiet = len(RULES) - len({one.id for one in findings})
    return (
        f"problems: {counts[Severity.PROBLEM]}, warnings: {counts[Severity.WARNING]}, advice:"
        f" {counts[Severity.ADVICE]}; {quiet} of {len(RULES)} rules had nothing to say"
    )
