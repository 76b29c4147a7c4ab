"""The replies to the last frames of a stream, in the place of one reply."""

from hypothesis import given
from hypothesis import strategies as st

from service.sessions import replies
from service.sessions.replies import NO_DIGEST, Answered
from service.sessions.store import Record, Status

answered = st.builds(
    Answered,
    at=st.integers(0, 2**53 - 1),
    step=st.integers(1, 2**53 - 1),
    digest=st.binary(min_size=16, max_size=16),
    reply=st.binary(max_size=60),
)


def record_of(reply: bytes, *, at: int = 4, digest: bytes = NO_DIGEST) -> Record:
    return Record(Status.LIVE, "m", "1", bytes(8), bytes(8), 5, 0, 0, 9, at=at, digest=digest, reply=reply)


@given(st.lists(answered, max_size=5))
def test_replies_are_unpacked_as_they_were_packed(all_answered: list[Answered]) -> None:
    record = record_of(replies.pack([each.pack() for each in all_answered]))
    assert replies.of(record) == all_answered
    assert replies.starts_held(record) == {each.at for each in all_answered}
    for each in all_answered:
        found = replies.find(record, each.at, each.digest)
        assert found is not None and (found.at, found.digest) == (each.at, each.digest)
        assert replies.find(record, each.at, b"another digest..") in (None, found)


def test_a_single_reply_is_found_too() -> None:
    record = record_of(b"{}", digest=b"d" * 16)
    assert replies.of(record) == [Answered(4, 5, b"d" * 16, b"{}")]
    assert replies.find(record, 4, b"d" * 16) == Answered(4, 5, b"d" * 16, b"{}")
    assert replies.find(record, 3, b"d" * 16) is None


def test_a_session_without_a_request_holds_no_reply() -> None:
    assert replies.of(record_of(b"")) == []
