"""NDJSON: every line is one sequence in its place, whatever is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from service.codec.request import Item
from service.errors import CellgateError, StartupError
from service.manifest import Manifest
from service.offline import lines

ROW = [1.0, 2.0]
MANIFEST = Manifest.model_validate(
    {
        "task": "classify",
        "inputs": [{"name": "x", "dims": [2], "features": ["a", "b"]}],
        "outputs": [{"name": "y", "dims": [2]}],
    }
)


def read(folder: Path, text: str) -> lines.LineBlock:
    path = folder / "in.ndjson"
    path.write_text(text)
    (block,) = lines.blocks(path)
    return block


def test_each_line_is_a_sequence_or_an_error_in_its_place(tmp_path: Path) -> None:
    text = '[[1, 2]]\n\n{"id": 7, "steps": [[1, 2], [3, 4]]}\n{"id": "b", "steps": [[1]]}\n[[1, 2]\n[1],[2]\n'
    block = read(tmp_path, text + '{"id": "c", "steps": [[1, 2]], "session": "s"}')
    keys, items = block.decode(MANIFEST, max_steps=9)
    assert keys.values == [None, 7, "b", None, None, "c"]
    assert isinstance(items[0], Item) and items[0].inputs[0].tolist() == [[1, 2]]
    assert isinstance(items[1], Item) and items[1].inputs[0].tolist() == [[1, 2], [3, 4]]
    errors = [item for item in items[2:] if isinstance(item, CellgateError)]
    assert [error.code for error in errors] == [
        "wrong_shape",
        "invalid_json",
        "too_many_sequences",
        "invalid_field",
    ]
    assert [error.pointer for error in errors][::3] == ["/steps/0", "/session"]


def test_a_sequence_that_is_long_as_json_is_read_exactly(tmp_path: Path) -> None:
    """Long lines are read by another parser than short ones."""
    steps = np.random.default_rng(0).standard_normal((300, 2)).round(6)
    block = read(tmp_path, f'{{"id": "long", "steps": {steps.tolist()}}}\n')
    keys, (item,) = block.decode(MANIFEST, max_steps=300)
    assert keys.values == ["long"] and isinstance(item, Item)
    assert (item.inputs[0] == steps.astype(np.float32)).all()


def test_a_line_beyond_the_limit_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 16)
    block = read(tmp_path, "[[1, 2]]\n[[1, 2], [1, 2], [1, 2], [1, 2]]\n[[3, 4]]\n")
    items = block.decode(MANIFEST, max_steps=9).sequences
    assert [getattr(item, "code", None) for item in items] == [None, "sequence_too_long", None]


def test_blocks_are_the_lines_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_SEQUENCES", 3)
    path = tmp_path / "in.ndjson"
    path.write_text("".join(f"[[{n}, 0]]\n" for n in range(8)))
    blocks = list(lines.blocks(path))
    assert [len(block) for block in blocks] == [3, 3, 2] and blocks[-1].progress == 1
    assert [line for block in blocks for line in block.lines] == [b"[[%d, 0]]" % n for n in range(8)]


def test_what_goes_to_a_server_has_no_id(tmp_path: Path) -> None:
    block = read(tmp_path, '{"id": 7, "steps": [[1, 2]]}\n[[1, 2]]\n{"steps": oops}')
    keys, bodies = block.to_json(MANIFEST, max_steps=9)
    assert bodies[:2] == [b'{"steps":[[1,2]]}', b"[[1, 2]]"] and keys.values == [7, None, None]
    assert isinstance(bodies[2], CellgateError) and bodies[2].code == "invalid_json"


def test_a_byte_order_mark_and_ends_of_lines_of_windows_are_no_part_of_a_sequence(tmp_path: Path) -> None:
    block = read(tmp_path, '\ufeff[[1, 2]]\r\n\r\n{"id": 7, "steps": [[3, 4]]}\r\n')
    keys, items = block.decode(MANIFEST, max_steps=9)
    assert keys.values == [None, 7] and all(isinstance(item, Item) for item in items)
    for empty in ("", "\n \n", "\ufeff\n"):
        with pytest.raises(StartupError, match="has no sequences"):
            read(tmp_path, empty)
