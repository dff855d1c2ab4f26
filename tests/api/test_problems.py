"""Every error that a client can meet: a stable code, its reason, and whether to come back."""

from __future__ import annotations

import json

import pytest

from stoker.api.anthropic import anthropic_problem
from stoker.api.problems import BodyTooLarge, MethodNotAllowed, problem
from stoker.core import errors
from stoker.core.reasons import Explanation, Reason

REFUSALS = list(Reason)[list(Reason).index(Reason.EXCEEDS_CAPACITY) :]
ERRORS = [
    errors.InvalidRequest("no", param="x"),
    errors.NotFound("no"),
    errors.ModelNotFound("no"),
    errors.Conflict("no"),
    errors.JobNotDone("no"),
    errors.StoreError("no"),
    errors.EngineUnreachable("no"),
    errors.EngineInterrupted("no"),
    errors.EngineRefused(503, b'{"error":{"message":"busy"}}', retry_after_s=900.0),
    errors.EngineRefused(400, b'{"error":{"message":"no"}}'),
    errors.StokerError("no"),
    BodyTooLarge(5),
    MethodNotAllowed("GET", "/", "POST"),
    *[
        errors.Rejected(Explanation(reason, "knob", 2.0, 1.0), retry_after_s=900.0)
        for reason in REFUSALS
    ],
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("describe", [problem, anthropic_problem])
def test_an_error_says_what_and_why_and_whether_to_come_back(error, describe) -> None:
    found = describe(error, request_id="req_1")

    headers = dict(found.headers)
    fault = json.loads(found.body)["error"]
    assert len(headers) == len(found.headers), "a header twice"
    assert fault["message"]
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-should-retry"] in {b"true", b"false"}
    if b"retry-after" in headers:
        assert 1 <= int(headers[b"retry-after"]) <= 120
        assert headers[b"x-should-retry"] == b"true"
    if headers[b"x-stoker-reason"] != b"engine":
        assert headers[b"x-stoker-reason"].decode() == fault["code"]
    if isinstance(error, errors.Rejected):
        assert (fault["knob"], fault["measured"], fault["limit"]) == ("knob", 2.0, 1.0)
