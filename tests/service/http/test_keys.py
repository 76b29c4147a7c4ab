"""Keys, tenants and rates."""

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from service.__main__ import main
from service.errors import RateLimited, StartupError, Unauthorized
from service.http.keys import Guard, Rates, Tenants, new_key

HASH = "sha256:" + hashlib.sha256(b"secret").hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tenants_in(folder: Path, text: str) -> Tenants:
    file = folder / "keys.toml"
    file.write_text(text)
    return Tenants.load(file, "")


def test_a_key_made_on_the_command_line_opens_the_door(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["keys", "new", "acme"])
    key = made.stderr.split()[-1]
    assert key.startswith("cg_") and key not in made.stdout, "the file does not hold the key"
    tenants = tenants_in(tmp_path, made.stdout)
    guard = Guard(tenants, Rates(tenants))
    assert guard.admit([(b"authorization", b"Bearer " + key.encode())]) == "acme"
    assert guard.admit([(b"host", b"x"), (b"x-api-key", key.encode())]) == "acme"
    assert guard.admit([(b"authorization", b"bearer  " + key.encode())]) == "acme"


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
def test_without_a_known_key_the_door_stays_shut(headers: list[tuple[bytes, bytes]]) -> None:
    tenants = Tenants.load(None, f"acme={HASH}")
    guard = Guard(tenants, Rates(tenants))
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
        (f'[acme]\nkeys = ["{HASH}"]\n[beta]\nkeys = ["{HASH}"]', "share a key"),
        (f'["a/b"]\nkeys = ["{HASH}"]', "no tenant's name"),
        (f'[""]\nkeys = ["{HASH}"]', "no tenant's name"),
    ],
)
def test_a_mistake_in_the_file_is_told_and_its_secrets_are_not(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=says):
        tenants_in(tmp_path, text)


def test_a_missing_file_and_an_entry_without_a_tenant_are_told(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="keys file"):
        Tenants.load(tmp_path / "none", "")
    with pytest.raises(StartupError, match="expected tenant="):
        Tenants.load(None, HASH)


@given(st.floats(0.1, 500), st.lists(st.floats(0, 0.5), min_size=1, max_size=60))
def test_no_second_sees_more_than_rate_and_burst(rate: float, waits: list[float]) -> None:
    clock = Clock()
    tenants = Tenants.load(None, f"acme={HASH}")
    tenants = Tenants({"acme": tenants.by_name["acme"].model_copy(update={"requests_per_s": rate})})
    rates = Rates(tenants, clock=clock)
    admitted: list[float] = []
    for wait in waits:
        clock.now += wait
        for _ in range(20):
            try:
                rates.take("acme")
            except RateLimited as error:
                assert error.retry_after_s is not None and error.retry_after_s >= 1
                break
            admitted.append(clock.now)
    for start in admitted:
        within = [at for at in admitted if start <= at < start + 1]
        assert len(within) <= 2 * rate + 1.1
    clock.now += 1 / rate + 1
    rates.take("acme")  # who waits is served again
    rates.take("beta")  # who has no rate always is


def test_workers_count_together(tmp_path: Path) -> None:
    tenants = tenants_in(tmp_path, f'[acme]\nkeys = ["{HASH}"]\nrequests_per_s = 10')
    shared, clock = tmp_path / "rates", Clock()
    shared.touch()
    workers = [Rates(tenants, shared, clock=clock) for _ in range(2)]
    for number in range(10):
        workers[number % 2].take("acme")
    for worker in workers:
        with pytest.raises(RateLimited):
            worker.take("acme")
