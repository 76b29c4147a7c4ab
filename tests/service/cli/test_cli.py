"""The command line as a person meets it."""

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from service.__main__ import main
from service.manifest import MANIFEST_FILE
from tests.service import graphs


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environ)


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    assert "Example" in shown.output and "cellgate " in shown.output


def test_every_setting_is_a_documented_flag_of_serve() -> None:
    shown = run("serve", "--help").output
    assert "--max-batch" in shown and "CELLGATE_MAX_BATCH" in shown and "[default" not in shown


def test_models_are_listed_for_people_and_programs(models_dir: Path) -> None:
    shown = run("models", "--models-dir", str(models_dir))
    assert shown.exit_code == 0 and shown.output.split()[:4] == ["vowels", "1", "classify", "exact"]
    listed = json.loads(run("models", "--models-dir", str(models_dir), "--json").output)
    assert [(row["name"], row["version"], row["exact"]) for row in listed] == [("vowels", "1", True)]


def test_a_mistake_is_one_line_and_an_exit_status() -> None:
    shown = run("models", "--models-dir", "/nowhere")
    assert shown.exit_code == 1 and shown.output.startswith("Error: no model in /nowhere")
    shown = run("models", CELLGATE_MODLES_DIR="x")
    assert shown.exit_code == 1 and "no such option" in shown.output


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            '{\n "task": "label"\n "inputs"',
            "model.json: Invalid JSON: expected `,` or `}` at line 3 column 2",
        ),
        ('{"inputs": [], "outputs": []}', "model.json: task: Field required; inputs: "),
        ("", "model.json: Invalid JSON: EOF while parsing a value at line 1 column 0"),
    ],
)
def test_a_bad_manifest_is_told_by_place(written: str, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "bad" / "1"
    folder.mkdir(parents=True)
    (folder / MANIFEST_FILE).write_text(written)
    shown = run("models", "--models-dir", str(tmp_path))
    assert shown.exit_code == 1 and f"bad/1/{expected}" in shown.output


FOREIGN = [
    kind for kind in graphs.SUMMING if kind is not graphs.WHOLE
]  # nothing in it tells that it must not be cut


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.name)
def test_a_proposed_manifest_serves_a_foreign_graph(kind: graphs.Kind, tmp_path: Path) -> None:
    folder = kind.write(tmp_path)
    (folder / MANIFEST_FILE).unlink()
    shown = run("inspect", str(folder / "model.onnx"))
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["inputs"][0]["name"]
    assert run("inspect", str(folder / "model.onnx"), "-o", str(folder)).exit_code == 0
    listed = json.loads(run("models", "--models-dir", str(tmp_path), "--json").output)
    assert listed[0]["exact"] and listed[0]["name"] == kind.name


def test_a_proposed_manifest_makes_its_folder_and_replaces_none_unasked(tmp_path: Path) -> None:
    graph, new = graphs.SUMMING[0].write(tmp_path) / "model.onnx", tmp_path / "not" / "there"
    assert run("inspect", str(graph), "-o", str(new)).exit_code == 0
    proposed = (new / MANIFEST_FILE).read_text()
    (new / MANIFEST_FILE).write_text("by hand")
    shown = run("inspect", str(graph), "-o", str(new))
    assert shown.exit_code == 1 and "exists; --force replaces it" in shown.output
    assert (new / MANIFEST_FILE).read_text() == "by hand"
    assert run("inspect", str(graph), "-o", str(new), "--force").exit_code == 0
    assert (new / MANIFEST_FILE).read_text() == proposed


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    graph = graphs.SUMMING[0].write(tmp_path) / "model.onnx"
    shown = run("inspect", str(graph), "-o", str(graph / "below"))
    assert shown.exit_code == 1 and "model.json: Not a directory" in shown.output


def test_what_is_no_graph_cannot_be_inspected(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("nothing")
    shown = run("inspect", str(tmp_path / "x.onnx"))
    assert shown.exit_code == 1 and "ONNX Runtime cannot load it" in shown.output


def test_what_is_no_store_is_told_and_not_made(tmp_path: Path) -> None:
    directory = ("--sessions-dir", str(tmp_path / "typo"))
    for command in (["list"], ["show", "nobody"], ["rm", "nobody"], ["export", "nobody"]):
        shown = run("sessions", command[0], *directory, *command[1:])
        assert shown.exit_code == 1 and "no sessions in" in shown.output
    assert not (tmp_path / "typo").exists()
    shown = run("sessions", "list", "--store", "memory")
    assert shown.exit_code == 1 and "memory store" in shown.output
    assert run("sessions", "list", "--limit", "-1", *directory).exit_code == 2
    assert shutil.which("cellgate") is None or run("--version").exit_code == 0
