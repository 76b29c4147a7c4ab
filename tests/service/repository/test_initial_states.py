"""The folder `states/` of a version: found, bounded, loaded with it, and refused with the file and reason."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from service.errors import StartupError, UnknownState
from service.manifest import Manifest, StateSpec
from service.repository import Hardware, Loader, ModelFolders, initial_states
from service.repository.retained import RetainedCopies
from service.repository.snapshot import Snapshot, signature
from service.sessions import initial
from service.state import StateLayout
from tests.service import graphs
from tests.service.loading import BATCHING

SPEC = StateSpec(input="h", output="h_out", shape=("batch", 2))
LAYOUT = StateLayout([SPEC])
MANIFEST = Manifest.model_construct(task="label", inputs=(), outputs=(), states=(SPEC,))
WHOLE = Manifest.model_construct(task="label", inputs=(), outputs=(), states=(SPEC,), causal=False)


def content(value: float = 1.0) -> bytes:
    return safetensors.numpy.save({"h": np.full(2, value, np.float32)})


def write(folder: Path, name: str, blob: bytes) -> Path:
    path = folder / "states" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    return path


def test_files_are_found_by_name_and_others_are_left_out(tmp_path: Path) -> None:
    assert initial_states.read_files(tmp_path) == {}
    write(tmp_path, "warm.safetensors", content())
    write(tmp_path, "Cold-1.0.safetensors", content(0))
    write(tmp_path, "README.md", b"how they were made")
    assert initial_states.read_files(tmp_path) == {"Cold-1.0": content(0), "warm": content()}
    assert initial_states.find_files(write(tmp_path, "x", b"")) == {}, "a file in the place of the folder"


def many(folder: Path) -> None:
    for number in range(initial_states.MAX_STATES + 1):
        write(folder, f"s{number}.safetensors", b"")


def large(folder: Path) -> None:
    for name in "ab":
        os.truncate(write(folder, f"{name}.safetensors", b""), initial_states.MAX_BYTES // 2 + 1)


def pipe(folder: Path) -> None:
    write(folder, "x", b"")
    os.mkfifo(folder / "states" / "warm.safetensors")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: write(folder, ".safetensors", content()), "'' is not a state's name"),
        (lambda folder: write(folder, "a b.safetensors", content()), "'a b' is not a state's name"),
        (lambda folder: write(folder, "..safetensors", content()), "'.' is not a state's name"),
        (many, "257 states, the maximum is 256"),
        (large, "states: more than 67108864 bytes"),
        (pipe, "warm.safetensors: not a regular file"),
        (lambda folder: (folder / "states" / "d.safetensors").mkdir(parents=True), "Is a directory"),
    ],
    ids=["no name", "space", "dot", "many", "large", "pipe", "folder"],
)
def test_a_folder_out_of_bounds_is_refused(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(StartupError, match=message):
        initial_states.read_files(tmp_path)


def test_states_are_checked_against_the_layout(tmp_path: Path) -> None:
    states = initial_states.parse({"warm": content(3)}, LAYOUT, MANIFEST, tmp_path)
    assert np.asarray(states["warm"][0]).tolist() == [3, 3]
    for blob, message in [
        (b"", "states/warm.safetensors: not a safetensors file"),
        (content(np.inf), "states/warm.safetensors: the state 'h' contains NaN or an infinity"),
        (bytes(initial.max_bytes(LAYOUT) + 1), "a state of this graph has at most 65544"),
    ]:
        with pytest.raises(StartupError, match=message):
            initial_states.parse({"warm": blob}, LAYOUT, MANIFEST, tmp_path)
    assert initial_states.parse({}, LAYOUT, WHOLE, tmp_path) == {}
    with pytest.raises(StartupError, match="cannot be run in pieces, so it has no initial states"):
        initial_states.parse({"warm": content()}, LAYOUT, WHOLE, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return graphs.UNIFORM.write(tmp_path)


def state_of(folder: Path, value: float) -> bytes:
    """A file for the graph in a folder, whatever its states are."""
    layout = ModelFolders(folder.parents[1]).get(None, None).layout
    tensors = {tensor.name: np.full(tensor.shape, value, tensor.dtype) for tensor in layout.tensors}
    return safetensors.numpy.save(tensors)


def test_a_version_is_loaded_with_its_states_or_refused(folder: Path) -> None:
    loader = Loader(BATCHING, Hardware("cpu", 1))
    plain = loader.prepare(folder)
    write(folder, "warm.safetensors", state_of(folder, 0.25))
    prepared = loader.prepare(folder)
    assert plain.states == {} and list(prepared.states) == ["warm"]
    assert all((np.asarray(array) == 0.25).all() for array in prepared.states["warm"])
    assert prepared.binding == plain.binding, "sessions do not depend on the files"
    write(folder, "bad.safetensors", content(np.nan))
    with pytest.raises(StartupError, match=r"uniform/1/states/bad\.safetensors: the state .h. contains NaN"):
        loader.prepare(folder)


def test_a_snapshot_holds_the_states_and_a_change_of_one_is_a_change_of_the_version(folder: Path) -> None:
    before, digest = signature(folder), Snapshot.read(folder).digest
    path = write(folder, "warm.safetensors", state_of(folder, 1))
    added = signature(folder)
    path.write_bytes(state_of(folder, 2))
    assert len({before, added, signature(folder)}) == 3
    snapshot = Snapshot.read(folder)
    assert snapshot.states == {"warm": state_of(folder, 2)}
    assert snapshot.digest == digest, "the graph need not be tried again"
    write(folder, "a b.safetensors", b"")
    assert signature(folder) not in (before, added), "refused, and tried again after the next change"


def test_a_copy_of_a_version_has_its_states(folder: Path, tmp_path: Path) -> None:
    write(folder, "warm.safetensors", state_of(folder, 1))
    copies = RetainedCopies(tmp_path / "copies")
    stored = ModelFolders(folder.parents[1]).get(None, None)
    copies.keep(Snapshot.read(folder), stored.binding)
    assert Snapshot.read(copies.folder(stored.binding)).states == {"warm": state_of(folder, 1)}


def test_a_version_on_disk_has_its_states_by_name(folder: Path) -> None:
    write(folder, "warm.safetensors", state_of(folder, 1))
    stored = ModelFolders(folder.parents[1]).get(None, None)
    assert (np.asarray(stored.named_state("warm")[0]) == 1).all()
    with pytest.raises(UnknownState, match=r"version 1 has no initial state '\.\./warm'; there are 'warm'"):
        stored.named_state("../warm")
