"""Ids of events, and what they check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.events import EventId, checksum, content_of, encode_tokens
from service.errors import BadHeader
from service.names import MAX_STEP

STEPS = st.integers(0, MAX_STEP)


IDS = st.builds(
    lambda at, done, seed, check, rewinds: EventId(at, done, seed, check, 0 if at is None else rewinds),
    st.none() | STEPS,
    st.integers(1, 10**6),
    st.none() | STEPS,
    st.integers(0, 2**32 - 1),
    STEPS,
)


@given(IDS)
def test_an_id_is_read_as_it_was_written(event_id: EventId) -> None:
    assert EventId.parse(str(event_id)) == event_id


@pytest.mark.parametrize(
    "text",
    [
        "end", "1", "-", "-.1.-", "-.0.-.00000000", "-.1.-.0000000", "-.1.-.000000000", "-.1.-.0000000G",
        "-.-1.-.00000000", "-.01.-.00000000", "1e3.1.-.00000000", "-.1.x.00000000", "-.1.-.00000000\n",
        "9007199254740992.1.-.00000000", "-.1.20000000000000.00000000", "-.٣.-.00000000",
        "-.10000000000000000.-.00000000", "-r1.1.-.00000000", "1r0.1.-.00000000", "1r.1.-.00000000",
        "1r9007199254740992.1.-.00000000", "1r1r1.1.-.00000000",
    ],
)  # fmt: skip
def test_what_no_server_has_sent_is_refused(text: str) -> None:
    with pytest.raises(BadHeader, match="Last-Event-ID"):
        EventId.parse(text)


@given(st.data())
def test_the_checksum_does_not_depend_on_where_rows_are_cut(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 6))
    outputs = [
        np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3),
        np.arange(rows, dtype=np.int64),
        np.arange(rows) % 2 == 0,
    ]
    cut = data.draw(st.integers(1, rows - 1))
    whole = checksum(content_of(outputs))
    parts = checksum(content_of([x[cut:] for x in outputs]), checksum(content_of([x[:cut] for x in outputs])))
    assert parts == whole


def test_the_checksum_sees_each_bit_but_takes_what_json_writes_as_null_for_one_value() -> None:
    rows = np.array([[1.0, np.nan], [np.inf, -0.0]], np.float32)
    assert content_of([rows]) == content_of([np.where(np.isfinite(rows), rows, np.float32(np.nan))])
    assert content_of([rows]) != content_of([np.where(rows == 0, np.float32(0), rows)])
    changed = rows.copy()
    changed[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert content_of([rows]) != content_of([changed])


def test_a_token_has_the_fields_of_the_reply_that_it_has() -> None:
    assert encode_tokens(3, 7, None, None) == b'{"start":3,"ids":[7]}'
    assert encode_tokens(3, 7, "h\n", "") == b'{"start":3,"ids":[7],"tokens":["h\\n"],"text":""}'
