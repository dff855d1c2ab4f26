"""OpenTelemetry traces, from client to engine; needs the extra `otel`. Not imported while off."""
