"""A version is tried in a child process: what would end the server ends the child, and says so."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from service.engine import Batching
from service.errors import StartupError
from service.repository.snapshot import digest
from service.repository.trial import TrialFailure, Trials
from service.repository.tried import Tried
from tests.service import graphs, harmful_graphs

BATCHING = Batching(max_batch=8, chunk_steps=16, max_waiting=64)
LIMITS: dict[str, Any] = {"provider": "cpu", "threads": 1, "seconds": 60, "max_bytes": 1 << 30}
# Children that stand in for the loading of a graph. `level` is that of the request; `print` the verdict.
CHILD = """
import json, os, signal, sys, time
level = json.loads(sys.argv[2])["optimization"]
def say(**verdict): print(json.dumps(verdict))
open(sys.argv[1], "a").write(level + "\\n")
"""


def trials(tmp_path: Path, child: str | None = None, **changes: Any) -> Trials:
    """`child`: what runs in the place of the loading; None: the loading itself."""
    command = {}
    if child is not None:
        script = tmp_path / "child.py"
        script.write_text(CHILD + child)
        command = {"command": (sys.executable, str(script), str(tmp_path / "levels"))}
    return Trials(batching=BATCHING, **LIMITS | command | changes)


def levels(tmp_path: Path) -> list[str]:
    """The levels that were tried, in order."""
    return (tmp_path / "levels").read_text().split()


def test_a_sound_version_passes_and_a_faulty_one_says_why(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    assert trials(tmp_path).optimization(folder, digest(folder)) == "all"
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(
        json.dumps(manifest | {"example": manifest["example"] | {"output": [9, 9]}})
    )
    with pytest.raises(StartupError, match="the example gives") as refused:
        trials(tmp_path).optimization(folder, digest(folder))
    assert not isinstance(refused.value, TrialFailure)


def test_a_folder_that_changes_before_the_child_reads_it_is_refused(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    with pytest.raises(StartupError, match="it has changed"):
        trials(tmp_path).optimization(folder, "of something else")


def test_a_file_that_is_deleted_meanwhile_is_no_failure_to_remember(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    before = digest(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(StartupError, match="No such file") as refused:
        trials(tmp_path).optimization(folder, before)
    assert not isinstance(refused.value, TrialFailure)


def test_a_graph_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    folder = harmful_graphs.endless(tmp_path / "m" / "1")
    with pytest.raises(TrialFailure, match=r"m/1: loading it takes more than 2 s \(model_trial_s\)"):
        trials(tmp_path, seconds=2).optimization(folder, digest(folder))


def test_a_graph_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    folder = harmful_graphs.huge(tmp_path / "m" / "1")
    with pytest.raises(TrialFailure, match=r"m/1: loading it takes more than 1073741824 bytes of memory"):
        trials(tmp_path).optimization(folder, digest(folder))


def test_a_half_precision_lstm_is_served_with_what_does_not_crash(tmp_path: Path) -> None:
    """With all optimizations ONNX Runtime 1.32 ended the server by SIGSEGV, as often as it was started."""
    folder = harmful_graphs.half_lstm(tmp_path / "m" / "1")
    assert trials(tmp_path).optimization(folder, digest(folder)) in ("all", "basic", "none")


def test_a_crash_leads_to_fewer_optimizations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crashing = "os.kill(os.getpid(), signal.SIGSEGV) if level == 'all' else say()"
    assert trials(tmp_path, crashing).optimization(tmp_path, "") == "basic"
    assert levels(tmp_path) == ["all", "basic"]
    assert (
        "loading it ends the process with SIGSEGV; it is served with the optimizations 'basic'" in caplog.text
    )


def test_a_crash_at_every_level_is_a_failure_with_the_first_reason(tmp_path: Path) -> None:
    crashing = "os.kill(os.getpid(), signal.SIGSEGV if level == 'all' else signal.SIGABRT)"
    with pytest.raises(TrialFailure, match="loading it ends the process with SIGSEGV"):
        trials(tmp_path, crashing).optimization(tmp_path, "")
    assert levels(tmp_path) == ["all", "basic", "none"]


def test_a_fault_that_no_level_mends_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="the manifest is wrong"):
        trials(tmp_path, "say(reason='the manifest is wrong')").optimization(tmp_path, "")
    assert levels(tmp_path) == ["all"]


def test_a_graph_that_opens_at_a_lower_level_is_served(tmp_path: Path) -> None:
    child = "say(reason='no kernel', may_pass_below=True) if level == 'all' else say()"
    assert trials(tmp_path, child).optimization(tmp_path, "") == "basic"


@pytest.mark.parametrize("child", ["os._exit(3)", "print('no verdict')", "say(unknown=1)"])
def test_a_child_without_a_verdict_is_a_failure(child: str, tmp_path: Path) -> None:
    with pytest.raises(TrialFailure, match="its trial ended with status"):
        trials(tmp_path, child).optimization(tmp_path, "")


def test_results_are_remembered(tmp_path: Path) -> None:
    tried = Tried(tmp_path / "tried", tmp_path)
    for _ in range(3):
        assert trials(tmp_path, "say()", tried=tried).optimization(tmp_path, "sound") == "all"
    crashing = "os.kill(os.getpid(), signal.SIGSEGV)"
    for _ in range(3):
        with pytest.raises(TrialFailure, match="SIGSEGV"):
            trials(tmp_path, crashing, tried=tried).optimization(tmp_path, "harmful")
    assert levels(tmp_path) == ["all", "all", "basic", "none"]


def test_a_stop_ends_the_trials_that_are_running(tmp_path: Path) -> None:
    tried = trials(tmp_path, "time.sleep(99)")
    errors: list[str] = []

    def work() -> None:
        try:
            tried.optimization(tmp_path, "")
        except StartupError as error:
            errors.append(error.detail)

    thread = threading.Thread(target=work)
    thread.start()
    while not (tmp_path / "levels").exists():
        thread.join(0.01)
    tried.close()
    thread.join()
    work()
    assert "ended because the server stops" in errors[0]
    assert "not tried because the server stops" in errors[1]
