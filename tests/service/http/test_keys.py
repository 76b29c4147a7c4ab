"""API keys and tenants."""

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.__main__ import main
from service.errors import RateLimited, StartupError, Unauthorized
from service.http.keys import Guard, Tenants, new_key
from service.http.rates import Rates

HASH = "sha256:" + hashlib.sha256(b"secret").hexdigest()


def tenants_in(folder: Path, text: str) -> Tenants:
    file = folder / "keys.toml"
    file.write_text(text)
    return Tenants.load(file, "")


def test_a_key_created_on_the_command_line_is_accepted(tmp_path: Path) -> None:
    created = CliRunner().invoke(main, ["keys", "new", "acme"])
    key = created.stderr.split()[-1]
    assert key.startswith("cg_") and key not in created.stdout, "the file does not hold the key"
    tenants = tenants_in(tmp_path, created.stdout)
    guard = Guard(tenants, Rates(tenants.rates))
    assert guard.admit([(b"authorization", b"Bearer " + key.encode())]) == "acme"
    assert guard.admit([(b"host", b"x"), (b"x-api-key", key.encode())]) == "acme"
    assert guard.admit([(b"authorization", b"bearer  " + key.encode())]) == "acme"


def test_a_second_key_may_be_appended_to_the_file(tmp_path: Path) -> None:
    """`cellgate keys new acme >> keys.toml` twice made a file that was no TOML."""
    created = [CliRunner().invoke(main, ["keys", "new", "acme"]) for _ in range(2)]
    tenants = tenants_in(tmp_path, "".join(each.stdout for each in created) + "[acme]\nmax_sessions = 3\n")
    guard = Guard(tenants, Rates(tenants.rates))
    for each in created:
        assert guard.admit([(b"x-api-key", each.stderr.split()[-1].encode())]) == "acme"
    assert tenants.by_name["acme"].max_sessions == 3
    with pytest.raises(StartupError, match=r"keys: acme\.keys\.0"):
        tenants_in(tmp_path, '[[acme.keys]]\nsha256 = "short"\n')


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Basic secret")],
        [(b"authorization", b"secret")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", HASH.encode())],
        [(b"x-api-key", b"secret\xff")],
    ],
)
def test_a_request_without_a_known_key_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    tenants = Tenants.load(None, f"acme={HASH}")
    guard = Guard(tenants, Rates(tenants.rates))
    assert guard.admit([(b"x-api-key", b"secret")]) == "acme"
    with pytest.raises(Unauthorized) as refused:
        guard.admit(headers)
    assert "secret" not in str(refused.value)


def test_keys_come_from_file_and_environment_together(tmp_path: Path) -> None:
    (_, first), (_, second), (_, third) = new_key(), new_key(), new_key()
    file = tmp_path / "keys.toml"
    file.write_text(f'[acme]\nkeys = ["{first}"]\nmax_sessions = 5\n')
    tenants = Tenants.load(file, f"acme={second}, beta={third},")
    assert tenants.by_name["acme"].keys == (first, second) and tenants.by_name["beta"].keys == (third,)
    assert tenants.quotas["acme"].max_sessions == 5 and "beta" not in tenants.quotas
    assert Tenants.load(None, "").by_name == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[acme", "keys file"),
        ("acme = 1", r"'acme' must be a table"),
        ("[acme]", "acme.keys: Field required"),
        ("[acme]\nkeys = []", "acme.keys"),
        ('[acme]\nkeys = ["secret"]', "acme.keys.0"),
        (f'[acme]\nkeys = ["{HASH}"]\nrate = 1', "acme.rate"),
        (f'[acme]\nkeys = ["{HASH}"]\nrequests_per_s = 0', "acme.requests_per_s"),
        (f'[acme]\nkeys = ["{HASH}"]\n[beta]\nkeys = ["{HASH}"]', "a key occurs twice"),
        (f'["a/b"]\nkeys = ["{HASH}"]', "is not a tenant's name"),
        (f'[""]\nkeys = ["{HASH}"]', "is not a tenant's name"),
    ],
)
def test_a_mistake_in_the_file_is_reported_without_its_secrets(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=says):
        tenants_in(tmp_path, text)


def test_a_missing_file_and_an_entry_without_a_tenant_are_reported(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="keys file"):
        Tenants.load(tmp_path / "none", "")
    with pytest.raises(StartupError, match="expected tenant="):
        Tenants.load(None, HASH)


def test_a_key_may_be_limited_in_rate() -> None:
    tenants = Tenants.load(None, f"acme={HASH}")
    tenants = Tenants({"acme": tenants.by_name["acme"].model_copy(update={"requests_per_s": 1.0})})
    guard = Guard(tenants, Rates(tenants.rates, clock=lambda: 1000.0))
    assert guard.admit([(b"x-api-key", b"secret")]) == "acme"
    with pytest.raises(RateLimited):
        guard.admit([(b"x-api-key", b"secret")])
