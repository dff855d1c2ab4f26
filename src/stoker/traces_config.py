"""What may be set about traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True)
class TracesConfig:
    """OpenTelemetry traces, from client to engine. They need the extra `otel`."""

    url: str | None = None
    """Address of an OTLP/HTTP receiver, e.g. `http://127.0.0.1:4318`; off when not set."""
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Of the requests whose caller does not say whether to trace them."""
