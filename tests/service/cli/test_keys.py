"""`cellgate keys new`: the key on stderr, its hash on stdout."""

import hashlib
import tomllib

import pytest

from tests.service.cli.command import run


def test_the_key_is_shown_once_and_the_table_holds_its_hash() -> None:
    created = run("keys", "new", "acme")
    key = created.stderr.split()[-1]
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert tomllib.loads(created.stdout) == {"acme": {"keys": [{"sha256": digest}]}}
    assert run("keys", "new", "acme").stderr.split()[-1] != key


@pytest.mark.parametrize("tenant", ["", "-acme", "a/b", "a" * 64])
def test_a_name_that_is_no_tenants_is_refused(tenant: str) -> None:
    refused = run("keys", "new", "--", tenant)
    assert refused.exit_code == 2 and "expected letters, digits" in refused.stderr
