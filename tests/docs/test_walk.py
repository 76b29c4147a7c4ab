"""A newcomer's first hour: the commands of the README and of docs/, as typed, in order, twice."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.committed import ROOT
from tests.docs.blocks import NOT_RUN, Step, steps
from tests.docs.clone import Clone, walk
from training.__main__ import main

# Documents whose blocks another test runs, and that test.
ELSEWHERE = {
    "docs/inputs.md": "tests/e2e/test_inputs.py",
    "docs/your-model.md": "tests/e2e/test_your_model.py",
    "docs/own-data.md": "tests/e2e/test_own_data.py",
    "docs/sse.md": "tests/e2e/test_events.py",
    "docs/streams.md": "tests/e2e/test_streams.py",
    "docs/checkpoints.md": "tests/e2e/test_checkpoints.py",
    "docs/forecast.md": "tests/e2e/test_forecast.py",
    "docs/predict-files.md": "tests/e2e/test_predict_files.py",
    "docs/python-client.md": "tests/cellgate/test_page.py",
    "docs/python-streams.md": "tests/cellgate/test_page.py",
}
TRAINING = tuple(
    f"docs/{name}.md" for name in ("training", "data-sets", "export", "compress", "lstm", "own-text")
)
WORDS = re.compile(r"(?:\b[a-z]+ ){4,}")  # the texts of notes.csv
SMALL = ["--hidden", "32", "--epochs", "1"]
# Commands of the other pages that need two servers, a key, or a client's own library: tested by topic.
BY_TOPIC = {
    "cellgate-train train vowels --logger mlflow": "tests/training/test_loggers.py",
    "cellgate keys new": "tests/service/cli/test_keys.py",
    "CELLGATE_KEYS_FILE=": "tests/e2e/test_tenants.py",
    'curl -H "Authorization': "tests/e2e/test_tenants.py",
    "curl -s localhost:8000/sessions/call-42/export": "tests/e2e/test_session_resource.py",
    "curl -s -X PUT localhost:9000/sessions": "tests/e2e/test_session_resource.py",
    "curl -s localhost:8000/generate": "tests/e2e/test_examples.py",
    "curl -s http://127.0.0.1:8000/models": "tests/e2e/test_pages.py",
    "python -m tests.conformance": "tests/conformance/__main__.py",
    "import json, urllib.request\n\n\ndef predict(steps, state)": "tests/e2e/test_state_tokens.py",
    "cellgate sessions export call-42 --state": "tests/service/cli/test_sessions.py",
    "openssl rand -base64 32 > state-secret": "tests/service/test_parts.py",
    "CELLGATE_STATE_SECRET_FILE=": "tests/service/test_parts.py",
    "import numpy as np\nimport tritonclient": "tests/e2e/test_oip.py",
}
DOCUMENTS = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if steps(path)]


def here(document: str) -> list[Step]:
    """The steps of a document that can be run here."""
    return [step for step in steps(ROOT / document) if step.needs is None]


def test_the_readme_works_as_typed_twice_and_leaves_the_clone_clean(tmp_path: Path) -> None:
    """Models that the examples trained replaced the committed one; keys appended twice were no TOML."""
    clone = Clone(tmp_path)
    typed = [step for step in here("README.md") if step.text != "make train"]  # see the pages about training
    assert len(typed) >= 9
    for _ in range(2):
        outputs = walk(clone, typed)
        assert json.loads(outputs[0])["predictions"][0]["label"] == "3"
        assert outputs[1].endswith("'3']\n")
        assert outputs[2].splitlines()[-1] == "20 3"
        assert clone.status() == ""
    assert (tmp_path / "my-models" / "other" / "2").is_dir()


def smaller(words: list[str]) -> list[str]:
    """A command that trains, with a network and a number of epochs that take no time."""
    command = words[1]
    if command == "train":
        return [*("2" if before == "--seeds" else word for before, word in pairwise(words)), *SMALL]
    if command == "compress":
        return [*words[1:], "--max-drop", "9", "--epochs", "1"]
    if command == "sweep":
        return [word if word != "20" else "2" for word in words[1:]] + ["--try", "epochs=1"]
    return words[1:]


@pytest.mark.parametrize("page", TRAINING)
def test_the_commands_of_training_succeed_twice(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second `train` of the same run, and the second `export`, were errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    text = (ROOT / "README.md").read_text()
    (tmp_path / "book.txt").write_text(text)
    (tmp_path / "notes.csv").write_text("note\n" + "".join(f"{line}\n" for line in WORDS.findall(text)))
    commands = [shlex.split(step.text) for step in here(page) if step.text.startswith("cellgate-train ")]
    ours = [words for words in commands if not {"--url", "--devices", "mlflow"} & set(words)]
    assert ours
    for _ in range(2):
        for words in ours:
            done = CliRunner().invoke(main, smaller(words))
            assert done.exit_code == 0, f"{words}\n{done.output}\n{done.exception!r}"
    assert {path.name for path in tmp_path.iterdir()} <= {
        "docs",
        "book.txt",
        "notes.csv",
        "runs",
        "my-models",
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_step_is_run_or_says_why_not(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    for step in steps(path):
        runs = name == "README.md" or name in ELSEWHERE or name in TRAINING
        by_topic = any(step.text.startswith(start) for start in BY_TOPIC)
        assert runs or step.needs or by_topic, f"{name}: nothing runs {step.text!r}"


def test_what_is_not_run_is_counted() -> None:
    """A new command that cannot run here changes this number, so somebody reads its reason."""
    skipped = [step for path in DOCUMENTS for step in steps(path) if step.needs]
    assert len(skipped) == 26
    assert {start for start in NOT_RUN if "cuda" not in start} >= {"docker ", "kubectl "}
    for test in {*ELSEWHERE.values(), *BY_TOPIC.values()}:
        assert (ROOT / test).is_file()


def test_make_train_writes_to_a_folder_that_git_ignores() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ntrain:")[2].splitlines()[1]
    assert recipe.split()[-2:] == ["--export", "my-models/vowels/1"]
    assert "--force" not in recipe
    assert "/my-models/" in (ROOT / ".gitignore").read_text().splitlines()
