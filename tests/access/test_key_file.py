"""Keys in a file: digests only, changed as a whole, and seen by whoever reads it."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from stoker.access.key_file import FILE, KeyFile, create, revoke
from stoker.access.keys import Key, checked_name, id_of
from stoker.core.errors import ConfigError, Conflict, InvalidRequest, NotFound, Unauthorized
from stoker.core.quotas import Quota
from stoker.core.work import Priority

ALICE = Key("", "alice", "team", "", created_at=1.0, quota=Quota(queued=3))


def test_the_secret_opens_its_key_and_is_nowhere_in_the_file(tmp_path):
    made, secret = create(tmp_path, ALICE)
    file = KeyFile(tmp_path)

    found = file.find(secret, 2.0)

    assert found == made
    assert (found.name, found.tenant, found.quota) == ("alice", "team", Quota(queued=3))
    text = (tmp_path / FILE).read_text()
    assert secret not in text
    assert secret.rpartition("_")[2] not in text
    assert id_of(secret) in text
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: s + "x", lambda s: s[:12], str.upper]
)
def test_another_secret_opens_nothing(tmp_path, change):
    _, secret = create(tmp_path, ALICE)

    with pytest.raises(Unauthorized, match="not known"):
        KeyFile(tmp_path).find(change(secret), 2.0)


def test_a_running_service_sees_new_and_revoked_keys_at_once(tmp_path):
    file = KeyFile(tmp_path)
    assert file.all() == []

    made, secret = create(tmp_path, ALICE)
    assert file.find(secret, 2.0) == made
    revoke(tmp_path, "alice", 3.0)

    with pytest.raises(Unauthorized, match="revoked"):
        file.find(secret, 4.0)
    assert [key.status(4.0) for key in file.all()] == ["revoked"]


def test_a_key_ends_when_it_was_said_to(tmp_path):
    _, secret = create(tmp_path, replace(ALICE, expires_at=10.0))
    file = KeyFile(tmp_path)

    assert file.find(secret, 9.9).name == "alice"
    with pytest.raises(Unauthorized, match="expired"):
        file.find(secret, 10.0)


def test_a_name_is_used_once_at_a_time(tmp_path):
    create(tmp_path, ALICE)
    with pytest.raises(Conflict, match="alice"):
        create(tmp_path, ALICE)

    revoke(tmp_path, "alice", 2.0)

    again, _ = create(tmp_path, replace(ALICE, highest=Priority.P0))
    assert [key.id for key in KeyFile(tmp_path).all()][1] == again.id


def test_what_is_not_there_cannot_be_revoked(tmp_path):
    with pytest.raises(NotFound, match="bob"):
        revoke(tmp_path, "bob", 1.0)


def test_a_broken_file_is_an_error_at_the_start_and_keeps_the_known_keys_later(tmp_path):
    made, secret = create(tmp_path, ALICE)
    file = KeyFile(tmp_path)

    (tmp_path / FILE).write_text("{")

    assert file.find(secret, 2.0) == made
    with pytest.raises(ConfigError, match=r"keys\.json"):
        KeyFile(tmp_path)
    with pytest.raises(ConfigError):
        create(tmp_path, replace(ALICE, name="bob"))


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", " a", "stoker:memories"])
def test_a_tenant_is_a_name_that_can_be_shown_and_is_not_ours(name):
    with pytest.raises(InvalidRequest, match="tenant"):
        checked_name(name, "tenant")
