"""A state token is read back whole by those that may, or refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidState, StateSecretMissing
from service.names import MAX_STEP
from service.sessions import Binding, StateToken, StateTokens, token_chars

SECRET, OLD = b"s" * 32, b"o" * 32
SIGNED, OPEN = StateTokens([SECRET]), StateTokens()
TOKENS = st.builds(
    StateToken,
    st.builds(
        Binding,
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
        st.from_regex(r"[1-9][0-9]{0,8}", fullmatch=True),
        st.binary(min_size=8, max_size=8),
    ),
    st.integers(0, MAX_STEP),
    st.binary(max_size=60),
)
TENANTS = st.sampled_from(["", "acme", "beta"])
SERVERS = st.sampled_from([SIGNED, OPEN])
TOKEN = StateToken(Binding("vowels", "1", b"graph678"), 145, b"the state")


def read(tokens: StateTokens, text: str, tenant: str = "", max_state_bytes: int = 60) -> StateToken:
    return tokens.read(tenant, text, max_state_bytes=max_state_bytes, pointer="/state")


@given(SERVERS, TENANTS, TOKENS)
def test_a_token_is_read_as_it_was_written(server: StateTokens, tenant: str, token: StateToken) -> None:
    text = server.write(tenant, token)
    assert read(server, text, tenant) == token
    assert len(text) <= token_chars(len(token.state))
    assert not set(text) & set('+/="\\')


@given(SERVERS, TENANTS, TOKENS, st.data())
def test_any_changed_bit_is_refused(
    server: StateTokens, tenant: str, token: StateToken, data: st.DataObject
) -> None:
    text = server.write(tenant, token)
    blob = bytearray(base64.urlsafe_b64decode(text + "=="))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidState):
        read(server, base64.urlsafe_b64encode(blob).rstrip(b"=").decode(), tenant)


@given(SERVERS, TOKENS, st.data())
def test_any_changed_lost_or_added_character_is_refused(
    server: StateTokens, token: StateToken, data: st.DataObject
) -> None:
    """The last character has bits that no byte holds, and decoders ignore what is not in their alphabet."""
    text = server.write("", token)
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.one_of(st.characters(codec="utf-8"), st.sampled_from("AZaz09-_+/=\n\0 ")))
    keep = data.draw(st.integers(0, 1))
    changed = text[:at] + data.draw(st.sampled_from(["", new])) + text[at + keep :]
    if changed != text:
        with pytest.raises(InvalidState):
            read(server, changed, max_state_bytes=200)


@given(
    st.one_of(st.text(max_size=300), st.binary(max_size=300).map(base64.urlsafe_b64encode).map(bytes.decode))
)
def test_whatever_a_client_sends_is_refused_as_a_token(text: str) -> None:
    for server in (SIGNED, OPEN):
        with pytest.raises(InvalidState) as raised:
            read(server, text, max_state_bytes=1000)
        assert raised.value.pointer == "/state"


def test_without_a_secret_a_client_can_forge_only_what_a_server_could_have_written() -> None:
    for binding, step in [
        (Binding("vowels", "latest", bytes(8)), 1),
        (Binding("", "1", bytes(8)), 1),
        (Binding("a/b", "1", bytes(8)), 1),
        (Binding("\xe9", "1", bytes(8)), 1),
        (Binding("vowels", "1", bytes(8)), MAX_STEP + 1),
    ]:
        with pytest.raises(InvalidState, match="no server wrote this token"):
            read(OPEN, OPEN.write("", StateToken(binding, step, b"")))
    text = OPEN.write("", StateToken(Binding("v" * 128, "1" * 9, bytes(8)), 1, b"")._replace(state=b"x"))
    assert read(OPEN, text).step == 1
    with pytest.raises(InvalidState, match="too short"):
        read(OPEN, OPEN.write("", TOKEN)[:40])


def test_a_signed_token_belongs_to_its_tenant_and_secret() -> None:
    text = SIGNED.write("acme", TOKEN)
    for server, tenant in [(SIGNED, "beta"), (SIGNED, ""), (StateTokens([OLD]), "acme")]:
        with pytest.raises(InvalidState, match="made for another tenant or with another state_secret"):
            read(server, text, tenant)


def test_a_secret_is_replaced_in_three_steps() -> None:
    """Old servers sign with the old one; all accept both; then the old one is removed."""
    old, both, new = StateTokens([OLD]), StateTokens([SECRET, OLD]), StateTokens([SECRET])
    before, after = old.write("acme", TOKEN), both.write("acme", TOKEN)
    assert read(both, before, "acme") == read(both, after, "acme") == read(new, after, "acme") == TOKEN
    with pytest.raises(InvalidState):
        read(new, before, "acme")
    with pytest.raises(InvalidState):
        read(old, after, "acme")


def test_a_token_is_not_downgraded() -> None:
    """An unsigned one, which anyone can write, is not accepted where tokens are signed."""
    with pytest.raises(InvalidState, match="not signed; this server accepts only signed tokens"):
        read(SIGNED, OPEN.write("acme", TOKEN), "acme")
    with pytest.raises(InvalidState, match="is signed; this server has no state_secret"):
        read(OPEN, SIGNED.write("acme", TOKEN), "acme")


def test_a_token_of_another_format_is_refused() -> None:
    blob = bytearray(base64.urlsafe_b64decode(OPEN.write("", TOKEN) + "=="))
    blob[0] = 9
    with pytest.raises(InvalidState, match="format 9, this server reads 1"):
        read(OPEN, base64.urlsafe_b64encode(blob).rstrip(b"=").decode())


def test_a_token_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidState, match="that of the largest state here"):
        read(OPEN, "!" * (token_chars(60) + 1))
    with pytest.raises(InvalidState, match="base64url"):
        read(OPEN, "!" * token_chars(60))


def test_with_keys_and_without_a_secret_there_are_no_tokens() -> None:
    server = StateTokens(needs_secret=True)
    with pytest.raises(StateSecretMissing) as raised:
        server.check_usable("/return_state")
    assert raised.value.pointer == "/return_state"
    with pytest.raises(StateSecretMissing):
        read(server, OPEN.write("", TOKEN))
    for usable in (OPEN, SIGNED, StateTokens([SECRET], needs_secret=True)):
        usable.check_usable()
