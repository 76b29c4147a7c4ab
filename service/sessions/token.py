"""A state as a token, which a client keeps and sends back: any server continues from it, without a store.

    format  signed  tag  step  graph  lengths of model and version  model, version  state
    1       1       32   8     8      1, 1                          ASCII           the rest

Base64url (RFC 4648, 5) without padding; numbers are little-endian. The tag is HMAC-SHA256 (RFC 2104) over the
tenant's name and everything but the tag itself. Without a secret its key is empty: it then finds accidents
only, which is enough where clients may set any state anyway. A token is signed, not encrypted: a client can
read the numbers of its state.
"""

import base64
import binascii
import hmac
import struct
from collections.abc import Sequence
from typing import NamedTuple

from service.errors import InvalidState, StateSecretMissing
from service.names import MAX_STEP, MODEL_NAME, MODEL_VERSION
from service.sessions.rules import Binding

FORMAT = 1
MIN_SECRET_BYTES = 32
_PREFIX = struct.Struct("<B?")
_TAG_END = _PREFIX.size + 32
_FIELDS = struct.Struct("<Q8sBB")
_MAX_NAMES = 128 + 9  # characters of a model's name and of a version
_MAX_HEAD = _TAG_END + _FIELDS.size + _MAX_NAMES
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")  # the alphabet that `binascii` reads


class StateToken(NamedTuple):
    """What a token says. Its state's bytes are not yet known to be those of the version's layout."""

    binding: Binding
    step: int  # consumed by this state
    state: bytes  # as `StateLayout` packs it


class StateTokens:
    """Writes and reads the tokens of one server; those that share its secrets read each other's."""

    def __init__(self, secrets: Sequence[bytes] = (), *, needs_secret: bool = False) -> None:
        """`secrets`: the first one signs, each of them is accepted; none: tokens are not signed.

        `needs_secret`: whether clients have API keys, so that unsigned tokens are not enough.
        """
        self._secrets = tuple(secrets)
        self._is_off = needs_secret and not self._secrets

    def check_usable(self, pointer: str | None = None) -> None:
        """Raises StateSecretMissing if this server neither makes nor accepts tokens."""
        if self._is_off:
            raise StateSecretMissing(
                "state tokens need the setting state_secret, since this server has API keys", pointer=pointer
            )

    def write(self, tenant: str, token: StateToken) -> str:
        """The token as text, for this tenant alone."""
        model, version = token.binding.model.encode(), token.binding.version.encode()
        fields = _FIELDS.pack(token.step, token.binding.graph, len(model), len(version))
        rest = b"".join((fields, model, version, token.state))
        prefix = _PREFIX.pack(FORMAT, bool(self._secrets))
        secret = self._secrets[0] if self._secrets else b""
        return _encode(b"".join((prefix, _tag(secret, tenant, prefix, rest), rest)))

    def read(self, tenant: str, text: str, *, max_state_bytes: int, pointer: str | None = None) -> StateToken:
        """Undo `write`. `max_state_bytes`: of any state that this server can continue from.

        Raises InvalidState, or StateSecretMissing.
        """
        self.check_usable(pointer)
        if len(text) > (most := token_chars(max_state_bytes)):
            raise InvalidState(
                f"the token has {len(text)} characters, that of the largest state here {most}",
                pointer=pointer,
            )
        try:
            return self._read(tenant, text)
        except InvalidState as error:
            error.pointer = pointer
            raise

    def _read(self, tenant: str, text: str) -> StateToken:
        blob = _decode(text)
        if len(blob) < _TAG_END + _FIELDS.size:
            raise InvalidState("this is not a state token: it is too short")
        prefix, tag, rest = blob[: _PREFIX.size], blob[_PREFIX.size : _TAG_END], blob[_TAG_END:]
        if prefix[0] != FORMAT:
            raise InvalidState(f"the token has format {prefix[0]}, this server reads {FORMAT}")
        if prefix[1] != bool(self._secrets):
            found, wanted = (
                ("", "has no state_secret") if prefix[1] else ("not ", "accepts only signed tokens")
            )
            raise InvalidState(f"the token is {found}signed; this server {wanted}")
        accepted = self._secrets or (b"",)
        if not any(hmac.compare_digest(tag, _tag(key, tenant, prefix, rest)) for key in accepted):
            raise InvalidState(
                "the token does not match its signature: it was changed, or made for another tenant or with "
                "another state_secret"
                if self._secrets
                else "the token does not match its checksum: it is incomplete or was changed"
            )
        return _parse(rest)


def token_chars(state_bytes: int) -> int:
    """The most characters of a token whose state has so many bytes."""
    return (4 * (_MAX_HEAD + state_bytes) + 2) // 3


def _tag(secret: bytes, tenant: str, prefix: bytes, rest: bytes) -> bytes:
    return hmac.digest(secret, b"\0".join((b"cellgate state", tenant.encode(), prefix + rest)), "sha256")


def _encode(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    """Exactly the text that `_encode` writes: another form of the same bytes is refused too."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        blob = binascii.a2b_base64(padded.translate(_TO_STANDARD), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidState("this is not a state token: expected base64url without padding") from error
    if _encode(blob) != text:
        raise InvalidState("this is not a state token: expected base64url without padding")
    return blob


def _parse(rest: bytes) -> StateToken:
    """The fields of a token whose tag is right. Without a secret, any client can have written it."""
    step, graph, model_length, version_length = _FIELDS.unpack_from(rest)
    end_of_model = _FIELDS.size + model_length
    end_of_version = end_of_model + version_length
    model = rest[_FIELDS.size : end_of_model].decode("latin-1")
    version = rest[end_of_model:end_of_version].decode("latin-1")
    if step > MAX_STEP or not MODEL_NAME.fullmatch(model) or not MODEL_VERSION.fullmatch(version):
        raise InvalidState("no server wrote this token: its step, model or version is out of range")
    return StateToken(Binding(model, version, graph), step, rest[end_of_version:])
