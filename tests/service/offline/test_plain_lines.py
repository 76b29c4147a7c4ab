"""Lines in one array: exactly the numbers that each line alone gives, or nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.request import Item
from service.engine.flat import MAX_STEPS
from service.manifest import Manifest
from service.offline import plain_lines
from service.offline.lines import LineBlock
from service.offline.plain_lines import flat_lines


def manifest_of(dims: tuple[int, ...]) -> Manifest:
    return Manifest.model_validate(
        {
            "task": "classify",
            "inputs": [{"name": "x", "dims": dims}],
            "outputs": [{"name": "y", "dims": [2]}],
        }
    )


PAIRS, ONES, NUMBERS = manifest_of((2,)), manifest_of((1,)), manifest_of(())


def has_plain(lines: list[bytes | None], manifest: Manifest) -> bool:
    found = flat_lines(lines, manifest)
    assert found is not None
    return bool(found.is_plain.any())


# What a line may hold, in pieces that are valid or not, and valid together or not.
numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1E2", "-0", "1e400", "01", "1 2", "", "null", "true", '"7"', "3.", " 5\t"]),
)
plain = st.sampled_from(["1", "0.1", "-2.5e-3", "16777217", "9007199254740993"])
rows = st.lists(plain, min_size=2, max_size=2).map(lambda row: f"[{','.join(row)}]")
lists = st.one_of(
    st.lists(rows, min_size=1, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
    st.lists(st.lists(numbers, max_size=2).map(lambda row: f"[{','.join(row)}]"), max_size=2).map(
        lambda each: f"[{','.join(each)}]"
    ),
    st.sampled_from(
        ["[]", "[[]]", "[[1,2]", "[3,4]]", "[[1,2]],[[3,4]]", "1", "[1,2]", "[[[1,2]]]", "[[1,2,3],[4]]"]
    ),
)
envelopes = st.sampled_from([
    "%s", ' {"id": 7, "steps": %s}', '{"steps":%s,"id":"b"}', '{"id":{"a":1},"steps":%s }', '{"steps":-%s}',
    '{"id":"%s","steps":null}', '{"id":%s}', '{"id":null,"steps":%s}', '{"steps":5,"steps":%s}',
    '{"steps":{"x":%s}}', '{"steps":%s,"session":"s"}', '{"steps":%s', '{"id":"[","steps":%s}', "%s]", '"%s"',
])  # fmt: skip


@given(texts=st.lists(st.tuples(envelopes, lists), min_size=1, max_size=5), at_once=st.integers(1, 3))
def test_it_reads_what_each_line_alone_gives_or_nothing(texts: list[tuple[str, str]], at_once: int) -> None:
    lines: list[bytes | None] = [(envelope % text).strip().encode() for envelope, text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_lines, "AT_ONCE", at_once)
        found = flat_lines(lines, PAIRS)
    assert found is not None
    (values,), starts, ends = found.flat
    keys, items = LineBlock(lines, 1.0).decode(PAIRS, max_steps=99)
    for place in np.flatnonzero(found.is_plain).tolist():
        item, ours = items[place], values[starts[place] : ends[place]]
        assert isinstance(item, Item) and ours.dtype == item.inputs[0].dtype
        assert (ours == item.inputs[0]).all() and keys.values[place] == found.ids[place]


@pytest.mark.parametrize(
    ("manifest", "texts", "values"),
    [
        (PAIRS, ["[[1,2],[3, 4.5]]", '{"id":"a","steps":[[5,6]]}'], [[1, 2], [3, 4.5], [5, 6]]),
        (ONES, ["[[1],[2]]", "[[3]]"], [[1], [2], [3]]),
        (NUMBERS, ["[1,2]", "[3]"], [1, 2, 3]),
    ],
    ids=["pairs", "ones", "numbers"],
)
def test_plain_lines_are_read(manifest: Manifest, texts: list[str], values: list[object]) -> None:
    found = flat_lines([text.encode() for text in texts], manifest)
    assert found is not None and found.is_plain.all()
    assert found.flat.inputs[0].tolist() == values and found.flat.ends.tolist() == [2, 3]


@pytest.mark.parametrize(
    "texts",
    [["[[1,2]],[[3,4]]"], ["[[1,2]", "[3,4]]"], ["[[1,2]],[[1,2]]", "[[1,2]", "[3,4]]"]],
    ids=["two in one", "one in two", "as many as lines"],
)
def test_lines_are_not_joined(texts: list[str]) -> None:
    """Together they are valid JSON, with as many numbers as rows of the width need."""
    assert not has_plain([text.encode() for text in texts], PAIRS)


@pytest.mark.parametrize("text", ["[[[1,2]]]", "[[1,2,3],[4]]", "[[1,[2]]]", "[1,2]", "[[1,2,]]"])
def test_other_shapes_are_not_plain(text: str) -> None:
    assert not has_plain([text.encode()], PAIRS)


@pytest.mark.parametrize("lists", ["[]", "[[]]", "[[1],[]]"])
def test_rows_without_numbers_are_not_plain(lists: str) -> None:
    assert not has_plain([b"[[1]]", lists.encode()], ONES)
    assert not has_plain([b"[1]", b"[]"], NUMBERS)


def test_what_is_long_missing_or_too_large_is_not_plain() -> None:
    long = b"[%b]" % b",".join([b"[1,2]"] * (MAX_STEPS + 1))
    lines: list[bytes | None] = [long, None, b"[[1e39,2]]"]
    for line in lines:
        assert not has_plain([line], PAIRS)
