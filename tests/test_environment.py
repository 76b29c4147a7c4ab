"""Neither a user's variables nor a user's models decide what the tests see."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.committed import ROOT, VOWELS, copy_committed
from tests.environment import heed_signals, isolate

HOSTILE = {
    "CELLGATE_PORT": "1",
    "CELLGATE_MODELS_DIR": "/nowhere",
    "CELLGATE_SESSIONS_DIR": "/nowhere",
    "CELLGATE_STORE": "redis",
    "CELLGATE_NO_SUCH_SETTING": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5h://127.0.0.1:9",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "default",
    "LC_ALL": "C",
    "COLUMNS": "20",
    "PORT": "1",
}
SAMPLE = (
    "tests/service/cli/test_models.py",
    "tests/service/cli/test_options.py",
    "tests/e2e/test_pages.py::test_health_is_plain[one worker]",
)


def test_tests_pass_whatever_the_environment_says() -> None:
    """A proxy, a setting or a locale of the user's made most of the suite fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SAMPLE]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | HOSTILE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_tests_in_the_background_can_interrupt_what_they_start() -> None:
    """`nohup make test &` made each test of Ctrl-C fail: the processes ignored it."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGHUP)}
    try:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        heed_signals()
        for each in before:
            child = subprocess.Popen(["sleep", "60"])
            child.send_signal(each)
            assert child.wait() == -each
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_what_would_change_a_test_is_removed_and_downloads_keep_their_proxy() -> None:
    kept = {"PATH": "/bin", "HOME": "/root", "CELLGATE_DATA_DIR": "/data", "PYTHONPATH": "/here"}
    environ = kept | HOSTILE | {"https_proxy": "http://proxy:3128"}
    isolate(environ)
    added = {"PIP_PROXY": environ["PIP_PROXY"], "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    assert environ == kept | added


def test_the_users_own_setting_of_pip_wins() -> None:
    environ = {"PIP_PROXY": "http://mine", "HTTPS_PROXY": "http://other"}
    isolate(environ)
    assert environ["PIP_PROXY"] == "http://mine"


def test_the_model_of_the_tests_is_the_committed_one(tmp_path: Path) -> None:
    """The tests failed after a user had trained into models/."""
    root = tmp_path / "clone"
    (root / VOWELS).mkdir(parents=True)
    (root / VOWELS / "model.json").write_text("committed")
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=root, check=True)
    (root / VOWELS / "model.json").write_text("trained since")
    (root / VOWELS / "mine.txt").touch()
    (root / "models" / "mine").mkdir()
    copy_committed(root, tmp_path / "copy")
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert [(path.name, path.read_text()) for path in files] == [("model.json", "committed")]


def test_without_git_the_files_are_copied(tmp_path: Path) -> None:
    root = tmp_path / "release"
    (root / VOWELS).mkdir(parents=True)
    (root / VOWELS / "model.json").write_text("released")
    copy_committed(root, tmp_path / "copy")
    assert (tmp_path / "copy" / VOWELS / "model.json").read_text() == "released"
