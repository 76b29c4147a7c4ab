"""A version that passed its trial is not tried again; a failure is forgotten with the server."""

import threading
from pathlib import Path

import pytest

from service.repository.tried import Record, Tried

DIGEST, OTHER = "ab" * 32, "cd" * 32


def look_up(tried: Tried, digest: str = DIGEST) -> Record:
    with tried.turn(digest) as record:
        return record


def test_what_passed_is_remembered_in_a_file(tmp_path: Path) -> None:
    tried = Tried(tmp_path / "tried", tmp_path)
    with tried.turn(DIGEST) as record:
        assert record == Record()
        record.level = "basic"
    assert look_up(Tried(tmp_path / "tried")) == Record("basic")
    assert look_up(tried, OTHER) == Record()


def test_a_failure_is_remembered_while_the_server_runs(tmp_path: Path) -> None:
    with Tried(tmp_path / "tried", tmp_path).turn(DIGEST) as record:
        record.reason = "it crashes"
    assert look_up(Tried(tmp_path / "tried", tmp_path)) == Record(None, "it crashes")
    (tmp_path / "another server").mkdir()
    assert look_up(Tried(tmp_path / "tried", tmp_path / "another server")) == Record()


def test_no_other_user_can_read_or_change_what_is_remembered(tmp_path: Path) -> None:
    for result in (Record("all"), Record(reason="it crashes")):
        with Tried(tmp_path / "tried", tmp_path).turn(f"{result}") as record:
            record.level, record.reason = result.level, result.reason
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"": 0o600, ".failed": 0o600, ".lock": 0o600}


def test_another_provider_is_another_trial(tmp_path: Path) -> None:
    with Tried(tmp_path / "tried", provider="cpu").turn(DIGEST) as record:
        record.level = "all"
    assert look_up(Tried(tmp_path / "tried", provider="cuda")) == Record()


def test_a_file_that_was_damaged_is_no_record(tmp_path: Path) -> None:
    with Tried(tmp_path / "tried").turn(DIGEST) as record:
        record.level = "all"
    whole = (tmp_path / "tried").read_text()
    for content in (whole.replace(" all", " most"), whole[:20], "", "\n\n"):
        (tmp_path / "tried").write_text(content)
        assert look_up(Tried(tmp_path / "tried")) == Record()
    (tmp_path / "tried").write_bytes(b"\xff\xfe")
    assert look_up(Tried(tmp_path / "tried")) == Record()


def test_without_files_or_where_none_can_be_written_nothing_is_remembered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for tried in (Tried(), Tried(tmp_path / "missing" / "tried", tmp_path / "missing")):
        for result in (Record("all"), Record(reason="it crashes")):
            with tried.turn(DIGEST) as record:
                record.level, record.reason = result.level, result.reason
            assert look_up(tried) == Record()
    assert "not remembered" in caplog.text


def test_one_worker_tries_and_the_others_wait_for_its_result(tmp_path: Path) -> None:
    trials: list[str] = []

    def work(name: str) -> None:
        with Tried(tmp_path / "tried", tmp_path).turn(DIGEST) as record:
            if record.level is None:
                trials.append(name)
                record.level = "all"

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trials) == 1
