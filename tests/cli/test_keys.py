"""`stoker keys`: a secret shown once, a list without secrets, and an end."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from stoker.access.key_file import KeyFile
from stoker.cli import main
from stoker.core.errors import Unauthorized
from stoker.core.quotas import Quota
from stoker.core.work import Priority


@pytest.fixture
def keys(tmp_path):
    def run(command, *arguments):
        line = ["keys", command, *arguments, "--data", str(tmp_path)]
        return CliRunner().invoke(main, line, catch_exceptions=False)

    return run


def test_a_key_is_printed_once_and_works(keys, tmp_path):
    made = keys("create", "alice")

    secret = made.stdout.strip()
    key = KeyFile(tmp_path).find(secret, 0.0)
    assert (made.exit_code, key.name, key.tenant) == (0, "alice", "alice")
    assert (key.highest, key.default, key.is_admin) == (Priority.P1, Priority.P1, False)
    listed = keys("list").stdout
    assert secret not in listed
    assert f"stk_{key.id}…" in listed
    assert "alice" in listed


def test_everything_that_can_be_said_about_a_key_is_kept(keys, tmp_path):
    times = {"requests-in-flight": 1, "tokens-in-flight": 2, "queued": 7}
    rates = {"requests-per-minute": 3, "tokens-per-minute": 4}
    limits = [f"--{name}={value}" for name, value in {**times, **rates}.items()]
    who = ["--max-class=p2", "--tenant=reports", "--admin", "--memories", "--expires=2h"]
    options = [*who, *limits, "--json"]
    document = json.loads(keys("create", "nightly", *options).stdout)

    key = KeyFile(tmp_path).find(document["key"], 0.0)
    assert (key.highest, key.default, key.tenant) == (Priority.P2, Priority.P2, "reports")
    assert (key.is_admin, key.may_remember) == (True, True)
    assert key.quota == Quota(1, 2, 7, 3, 4)
    assert key.expires_at == pytest.approx(key.created_at + 7200)
    (listed,) = json.loads(keys("list", "--json").stdout)
    assert "key" not in listed
    assert {**listed, "key": document["key"]} == document


@pytest.mark.parametrize("by", ["name", "id", "beginning", "secret"])
def test_a_key_is_revoked_by_what_somebody_has_of_it(keys, tmp_path, by):
    secret = keys("create", "alice").stdout.strip()
    id = KeyFile(tmp_path).find(secret, 0.0).id
    named = {"name": "alice", "id": id, "beginning": f"stk_{id}", "secret": secret}[by]

    assert keys("revoke", named).exit_code == 0

    with pytest.raises(Unauthorized):
        KeyFile(tmp_path).find(secret, 0.0)
    assert "revoked" in keys("list").stdout
    again = keys("revoke", named)
    assert again.exit_code == 1
    assert again.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--expires", "soon"], "'soon' is no date"),
        (["a", "--expires", "2020-01-01"], "not in the future"),
        (["a", "--default-class", "p0"], "better than --max-class"),
        (["a", "--tenant", "stoker:memories"], "tenants that begin with"),
        (["a", "--queued", "0"], "--queued"),
    ],
)
def test_what_makes_no_sense_is_said(keys, tmp_path, arguments, said):
    result = keys("create", *arguments)

    assert result.exit_code != 0
    assert said in result.stderr
    assert KeyFile(tmp_path).all() == []
