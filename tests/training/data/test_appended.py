"""A second file to test on: it changes nothing of the other parts, and must fit to the table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.config import Table
from training.data.file import TableError
from training.data.table import fingerprint, interpret, load

HEADER = "id,t,kind,level,state\n"


def rows(ids: range, *, kinds: str = "ab", state: str = "on,off") -> str:
    states = state.split(",")
    return "".join(
        f"{one},{step},{kinds[step % len(kinds)]},{one + step},{states[one % len(states)]}\n"
        for one in ids
        for step in range(4)
    )


@pytest.fixture
def table(tmp_path: Path) -> Table:
    path = tmp_path / "own.csv"
    path.write_text(HEADER + rows(range(20)))
    return Table(
        path=str(path), sha256=fingerprint(path), targets=("state",), id_column="id", time_column="t"
    )


def with_test(table: Table, text: str) -> Table:
    path = Path(table.path).with_name("new.csv")
    path.write_text(text)
    return table.model_copy(update={"test_data": str(path), "test_sha256": fingerprint(path)})


def test_the_rows_of_the_second_file_are_the_test_part(table: Table) -> None:
    data = interpret(with_test(table, HEADER + rows(range(3), kinds="az"))).data
    assert data.validation is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 3)
    numbers, kinds = data.inputs
    assert kinds.vocabulary == ("<other>", "a", "b"), "of the training part alone"
    first = data.test.sequences[0]
    assert first[:, 0].tolist() == [0, 1, 2, 3], "an id of both files names two sequences"
    assert first[:, numbers.columns].tolist() == [1, 0, 1, 0], "z is unknown"


def test_a_file_to_evaluate_on_replaces_the_test_part_alone(table: Table, tmp_path: Path) -> None:
    before = load(table)
    other = tmp_path / "other.csv"
    other.write_text(HEADER.replace("id,t", "t,id") + "3,x,a,7,on\n2,x,b,5,on\n")
    after = load(table, other)
    assert after.inputs == before.inputs
    for ours, theirs in zip(after.train.sequences, before.train.sequences, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [one[:, 0].tolist() for one in after.test.sequences] == [[5, 7]]
    assert len(before.test) == 4


def test_the_times_of_the_second_file_have_the_format_and_zone_of_the_table(tmp_path: Path) -> None:
    """A file of ambiguous dates was read by its own values, whatever those of the table were."""
    path = tmp_path / "own.csv"
    path.write_text("t,y\n" + "".join(f"{1 + n}/{2 + n // 20}/2024,{n % 7}\n" for n in range(28)))
    table = Table(path=str(path), sha256=fingerprint(path), targets=("y",), time_column="t")
    second = "t,y\n" + "".join(f"{n}/4/2024,{n % 7}\n" for n in range(1, 12))
    data = interpret(with_test(table, second)).data
    assert data.table is not None and data.table.time is not None
    assert data.table.time.format == "%d/%m/%Y"
    assert data.test.sequences[0][:, 0].tolist() == [n % 7 for n in range(1, 12)]
    with pytest.raises(
        TableError, match=r"new.csv: row 2, .*'2024-04-01' is not a time .written as %d/%m/%Y"
    ):
        interpret(with_test(table, "t,y\n2024-04-01,3\n"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,t,kind,state\n1,1,a,on\n", "new.csv: column 'level' of .*own.csv is missing"),
        (HEADER + "1,1,a,x,on\n", "new.csv: column 'level' is a category, but a number in .*own.csv"),
        (HEADER + "1,1,a,1,ON\n", "new.csv: column 'state' has the class 'ON', which .*own.csv has not"),
        (HEADER + "1,now,a,1,on\n", "new.csv: row 2, column 't': 'now' is not a time"),
    ],
)
def test_a_file_that_does_not_fit_is_named(text: str, complaint: str, table: Table) -> None:
    with pytest.raises(TableError, match=complaint):
        interpret(with_test(table, text))


def test_a_test_file_that_has_changed_is_refused(table: Table) -> None:
    changed = with_test(table, HEADER + rows(range(3)))
    assert len(load(changed).test) == 3
    Path(str(changed.test_data)).write_text(HEADER)
    with pytest.raises(TableError, match=r"new.csv has changed since the run was started"):
        load(changed)


def test_forecasts_are_tested_on_the_second_file_too(table: Table) -> None:
    fields: dict[str, Any] = {"targets": ("level",), "ignore": ("state",)}
    table = table.model_copy(update=fields)
    data = interpret(
        with_test(table, "id,t,kind,level\n" + "".join(f"1,{n},a,{n * n}\n" for n in range(5)))
    ).data
    assert [target.ravel().tolist()[:4] for target in data.test.targets] == [[1, 4, 9, 16]]
