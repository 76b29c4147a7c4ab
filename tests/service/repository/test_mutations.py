"""Whatever the files of a version hold, a load either succeeds or raises the one expected error."""

import base64
import copy
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.codec import text
from service.engine import Batching
from service.errors import StartupError
from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from service.repository import Hardware, Loader, SafeLoader, Trials, scan
from service.repository.compare import draws_random_numbers
from service.repository.folders import check_folders, find_versions, read_manifest
from service.repository.graph_file import GraphFile
from service.repository.sizes import with_fixed_sizes
from service.repository.snapshot import Snapshot, digest, signature
from tests.service import graphs
from tests.service.codec.test_text import tokenizer

BATCHING = Batching(max_batch=8, chunk_steps=4, max_waiting=99)
KINDS = {kind.name: kind for kind in (graphs.UNIFORM, *graphs.SUMMING)}
MANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


NUMBERS = (0, -1, 3, 2**31, 2**63, 2**64, 10**300, 1e308, float("nan"), float("inf"), 0.5)
TEXTS = ("", "?", "x", "\0", "../..", "π" * 300, "time", "batch", "float32", "step", "sequence", "h", "y")
OTHERS: tuple[Any, ...] = (None, True, [], {}, [[]], [None], {"a": 1}, [[1, 2], [3]], nested(100))
ODD_VALUES = st.sampled_from([*NUMBERS, *TEXTS, *OTHERS]).map(copy.deepcopy)
KEYS = (
    "x  inputs outputs states axes constants lengths carry per size dims batch_size time_size tokenizer "
    "vocabulary unknown non_finite example steps"
)
ODD_KEYS = st.sampled_from(KEYS.split(" "))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key of a JSON document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document with one to three changes: a value deleted, replaced, copied elsewhere, or added."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(document))
        if not found:
            return draw(ODD_VALUES)
        container, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["delete", "replace", "copy", "add"])):
            case "delete":
                del container[key]
            case "replace":
                container[key] = draw(ODD_VALUES)
            case "copy":
                other, name = draw(st.sampled_from(found))
                container[key] = json.loads(json.dumps(other[name]))
            case "add" if isinstance(container, dict):
                container[draw(ODD_KEYS)] = draw(ODD_VALUES)
            case "add":
                container.append(draw(ODD_VALUES))
    return document


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with one to four changes: overwritten, removed, inserted, repeated, or cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        match draw(st.sampled_from(["overwrite", "remove", "insert", "repeat", "cut"])):
            case "overwrite":
                changed[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "remove":
                del changed[at : at + draw(st.integers(1, 9))]
            case "insert":
                changed[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "repeat":
                changed[at:at] = changed[at : at + draw(st.integers(1, 200))]
            case "cut":
                del changed[at:]
    return bytes(changed)


class Untried(Trials):
    """Every version passes its trial: a load in this process, where an exception would be seen."""

    def __init__(self) -> None:
        super().__init__(batching=BATCHING, provider="cpu", threads=1, seconds=60, max_bytes=1 << 30)

    def optimization(self, folder: Path, digest: str) -> Any:  # noqa: ARG002
        return "all"


def load(folder: Path) -> None:
    """Load a version in this process. Raises StartupError, never one that hides another exception."""
    SafeLoader(Loader(BATCHING, Hardware("cpu", 1)), Untried()).prepare(folder)


def allowing(call: Callable[[], object]) -> None:
    """Run a load; it may raise the expected error, and nothing else."""
    try:
        call()
    except StartupError as error:
        assert error.detail


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good version of each kind."""
    root = tmp_path_factory.mktemp("good")
    return {name: kind.write(root) for name, kind in KINDS.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return graphs.UNIFORM.write(tmp_path)


@MANY
@given(st.data())
def test_a_mutated_manifest_raises_only_the_expected_error(
    versions: dict[str, Path], data: st.DataObject
) -> None:
    good = versions[data.draw(st.sampled_from(sorted(versions)))]
    document = data.draw(mutated(json.loads((good / MANIFEST_FILE).read_bytes())))
    content = json.dumps(document).encode()
    if data.draw(st.integers(0, 3)) == 0:
        content = data.draw(mutated_bytes(content))
    with tempfile.TemporaryDirectory() as name:
        copy = Path(shutil.copytree(good, Path(name) / "m" / "1"))
        (copy / MANIFEST_FILE).write_bytes(content)
        allowing(lambda: check_folders(Path(name)))
        allowing(lambda: load(copy))


@MANY
@given(st.data())
def test_a_mutated_graph_raises_only_the_expected_error(
    versions: dict[str, Path], data: st.DataObject
) -> None:
    """Only what the server itself reads of it: ONNX Runtime reads it in a child process first."""
    good = versions[data.draw(st.sampled_from(sorted(versions)))]
    with tempfile.TemporaryDirectory() as name:
        copy = Path(shutil.copytree(good, Path(name) / "m" / "1"))
        (copy / GRAPH_FILE).write_bytes(data.draw(mutated_bytes((good / GRAPH_FILE).read_bytes())))

        def read() -> None:
            graph = GraphFile.read(copy / GRAPH_FILE)
            draws_random_numbers(graph.graph)
            with_fixed_sizes(read_manifest(copy), graph.inputs)

        for call in (read, lambda: Snapshot.read(copy), lambda: digest(copy)):
            allowing(call)
        assert signature(copy) is not None and list(scan(Path(name))) == [copy]


PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\4\0\0\0abcd").decode()}


@FEW
@given(st.data())
def test_a_mutated_tokenizer_raises_only_the_expected_error(data: st.DataObject) -> None:
    source = tokenizer()
    if data.draw(st.booleans()):
        source = json.dumps(data.draw(mutated(json.loads(source) | {"normalizer": PRECOMPILED})))
    else:
        source = data.draw(mutated_bytes(source.encode())).decode(errors="replace")
    spec = text_input(source)
    allowing(lambda: text.check(spec))


def text_input(source: str) -> Any:
    words = ["the", "cat", "<other>"]
    fields = {"name": "x", "kind": "token", "dtype": "int64", "vocabulary": words, "tokenizer": source}
    example = {"steps": [0], "output": [0.0]}
    manifest = Manifest.model_validate(
        {"task": "language", "inputs": [fields], "outputs": [{"name": "y"}], "example": example}
    )
    return manifest.inputs[0]


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("/nowhere/at/all"),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "empty": Path.touch,
    "a terabyte of zeros": sparse,
    "deep lists": lambda path: path.write_text("[" * 200_000),
    "deep objects": lambda path: path.write_text('{"task":' * 200_000),
    "a long number": lambda path: path.write_text('{"schema_version": ' + "9" * 10_000 + "}"),
    "only an open field": lambda path: path.write_text('"?"'),
    "open fields": lambda path: path.write_text('{"constants": "?", "inputs": "?", "states": ["?"]}'),
    "no UTF-8": lambda path: path.write_bytes(b'{"task": "\xff"}'),
    "a lone surrogate": lambda path: path.write_text(r'{"task": "\ud800"}'),
}


@pytest.mark.parametrize("name", [MANIFEST_FILE, GRAPH_FILE])
@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_a_file_of_another_kind_raises_only_the_expected_error(
    name: str, replace: Callable[[Path], object], folder: Path
) -> None:
    """A pipe in the place of a manifest hung the server, and lists in lists ended its start."""
    (folder / name).unlink()
    replace(folder / name)
    with pytest.raises(StartupError):
        load(folder)
    allowing(lambda: check_folders(folder.parents[1]))
    signature(folder)
    assert list(find_versions(folder.parents[1])) == [folder]


def test_odd_folders_are_no_versions(folder: Path) -> None:
    root = folder.parents[1]
    (root / "loop").symlink_to(root / "loop")
    (root / "file").write_text("")
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / "1")
    for name in ("sp ace", "-x", "..x", "π", "new\nline", os.fsdecode(b"\xff")):
        (root / name / "1").mkdir(parents=True)
    for name in ("0", "01", "1.0", "²", "9" * 200, "latest"):
        (root / "named" / name).mkdir(parents=True)
    assert list(find_versions(root)) == [folder] and list(scan(root)) == [folder]
    check_folders(root)


def test_a_folder_that_may_not_be_entered_hides_only_its_own_versions() -> None:
    """As another user, since root may enter any."""
    with tempfile.TemporaryDirectory() as name:
        root, user = Path(name), os.geteuid()
        good = graphs.UNIFORM.write(root)
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
        (root / "closed" / "1").mkdir(parents=True)
        (root / "closed").chmod(0o444)
        if user == 0:
            os.seteuid(65534)
        try:
            assert list(find_versions(root)) == [good]
        finally:
            os.seteuid(user)
            (root / "closed").chmod(0o755)
