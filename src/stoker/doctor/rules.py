"""The table of all rules, and what they say of some facts. Pure."""

from __future__ import annotations

from stoker.doctor.engine_rules import ENGINE_RULES
from stoker.doctor.facts import Facts
from stoker.doctor.finding import Finding, Severity
from stoker.doctor.host_rules import HOST_RULES
from stoker.doctor.service_rules import SERVICE_RULES
from stoker.doctor.version_rules import VERSION_RULES

RULES = (*ENGINE_RULES, *VERSION_RULES, *HOST_RULES, *SERVICE_RULES)


def examine(facts: Facts) -> list[Finding]:
    """Everything that there is to say, the gravest first."""
    found = [
        Finding(
            rule.id, said.severity, said.about, rule.what, said.measured, said.advice, rule.source
        )
        for rule in RULES
        for said in rule.check(facts)
    ]
    return sorted(found, key=lambda finding: -finding.severity)


def worst(findings: list[Finding]) -> Severity:
    """How grave the gravest is."""
    return max((finding.severity for finding in findings), default=Severity.ADVICE)
