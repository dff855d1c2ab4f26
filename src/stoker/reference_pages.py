"""The pages of docs/reference that are made from the code; a test keeps them equal.

`python -m stoker.reference_pages docs/reference` writes them anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stoker.api.histograms import DISTRIBUTIONS, HISTOGRAM_LABELS
from stoker.api.memories_metrics import MEMORIES_FAMILIES, SEARCH_HELP, SEARCH_SECONDS
from stoker.api.metrics import FAMILIES
from stoker.api.model_server_metrics import VLLM_FAMILIES
from stoker.config import Key, describe
from stoker.doctor.rules import RULES

_CONFIGURATION = """\
# Configuration

Made from `stoker.config` by `python -m stoker.reference_pages docs/reference`; do not edit.

Every key can be set in a TOML file, in the environment, or by a flag where there is one; the later
wins. The file is the one named by `--config` or `STOKER_CONFIG`, else `stoker.toml` in the working
folder, else `~/.config/stoker/stoker.toml` (`XDG_CONFIG_HOME`). `stoker config` prints the values
in force and where each was set. An unknown key is an error.

Durations are seconds, sizes are bytes or tokens as the name says. In the environment, an empty
value means "not set" for a key that may be unset.
"""

_METRICS = """\
# Metrics

Made from `stoker.api.metrics` by `python -m stoker.reference_pages docs/reference`; do not edit.

`GET /metrics` answers in Prometheus' text format. A gauge that nobody knows (an engine without
that number, a forecast before the first answer) is absent, never 0. `engine` is the name of the
engine (`default` for the one of `[engine]`), also where there is only one; what has no such label
is the whole box's. `priority` is `p0`, `p1` or
`p2`; `reason` is one of the [reasons](reasons.md), and of the optimizer's steps one of the reasons
that [the HTTP page](http.md) names.

`stoker_memories_*` are there where the [memory server](../guides/memories.md) is. What is in its
tables is counted at most every 15 s, and only after a change: a scrape reads no table. `status`,
`state` and `guard` have the words of [its routes](http.md).

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""


_AS_VLLM = """
`process_*` are the usual ones of this process: CPU seconds, RAM, open files, its start.

## As vLLM says it

With `server.vllm_metrics`, for routers that know no other names:
[Monitoring](../guides/monitoring.md).

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""


def configuration_page() -> str:
    """docs/reference/configuration.md."""
    sections: dict[str, list[Key]] = {}
    for key in describe():
        sections.setdefault(key.name.rpartition(".")[0], []).append(key)
    return _CONFIGURATION + "".join(_section(name, sections[name]) for name in sorted(sections))


def metrics_page() -> str:
    """docs/reference/metrics.md."""
    rows = [
        _metric_row(family.name, family.kind, family.all_labels, family.help)
        for family in (*FAMILIES, *MEMORIES_FAMILIES)
    ]
    rows.append(_metric_row(SEARCH_SECONDS, "histogram", (), SEARCH_HELP))
    rows += [
        _metric_row(one.name, "histogram", HISTOGRAM_LABELS, one.help) for one in DISTRIBUTIONS
    ]
    as_vllm = [
        _metric_row(family.name, family.kind, family.all_labels, family.help)
        for family in VLLM_FAMILIES
    ]
    return _METRICS + "".join(sorted(rows)) + _AS_VLLM + "".join(as_vllm)


_DOCTOR = """\
# Findings of `stoker doctor`

Made from `stoker.doctor` by `python -m stoker.reference_pages docs/reference`; do not edit.

[`stoker doctor`](cli.md) reads the host, asks each engine what it is and lets it complete one
token, asks a running service, and goes through this table. What cannot be found out is not judged.
A finding has an id, a severity (`problem`, `warning`, `advice`), the figure that was measured, and
what to do; the exit code is 2 with a problem, 1 with a warning, else 0. Where an engine runs on
this host its command line and environment are read too: vLLM, for one, has no page that tells its
scheduling policy or its `--max-num-seqs`.

| Finding | What it says | Known from |
|---|---|---|
"""


def doctor_page() -> str:
    """docs/reference/doctor.md."""
    return _DOCTOR + "".join(f"| `{rule.id}` | {rule.what} | {rule.source} |\n" for rule in RULES)


def write(folder: Path) -> None:
    """Write every page into `folder`."""
    (folder / "configuration.md").write_text(configuration_page(), encoding="utf-8")
    (folder / "metrics.md").write_text(metrics_page(), encoding="utf-8")
    (folder / "doctor.md").write_text(doctor_page(), encoding="utf-8")


_ENGINES = """
More engines have tables of their own, `[engines.NAME]`, with the same keys; in the environment
`STOKER_ENGINES__NAME__URL` …, on the command line `--engine NAME=URL`. `NAME` has 1 to 40
lower-case letters, digits, `-` and `_`. An empty table is an embedded engine. Where there are named
engines and nothing is set in `[engine]`, it is none of them. See
[several models](../guides/several-models.md).
"""


def _section(name: str, keys: list[Key]) -> str:
    title = f"`[{name}]`" if name else "Top level"
    head = f"\n## {title}\n\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n"
    rows = "".join(_key_row(key) for key in keys) + f"\nEnvironment: `{keys[0].env}` …\n"
    return head + rows + (_ENGINES if name == "engine" else "")


def _key_row(key: Key) -> str:
    return f"| `{key.name}` | {key.type} | {key.default} | {key.doc} |\n"


def _metric_row(name: str, kind: str, labels: tuple[str, ...], help: str) -> str:
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {kind} | {shown} | {help} |\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
