"""Names and the largest numbers that a client may use: each rule stands here once."""

import re

from service.errors import InvalidField

# Printable ASCII but "/", and neither "." nor "..", so that it fits into a URL's path.
SESSION_NAME = re.compile(r"(?:[!-\-0-~][!-.0-~]{0,127}|\.[!-\-0-~][!-.0-~]{0,126}|\.\.[!-.0-~]{1,126})")
IDEMPOTENCY_KEY = re.compile(r'"[ !#-~]{1,255}"|[!#-~]{1,255}')  # a string of RFC 9651, or without its quotes
SESSION_NAME_RULE = 'expected 1 to 128 printable ASCII characters without "/"'

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STATELESS = ":stateless"  # ":" is in no model's name
MODEL_VERSION = re.compile(r"[1-9][0-9]{0,8}")
MODEL_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")  # it stands for a version, so it is none

STATE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # of an initial state: a file's name

ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")  # a prefix of paths; none is ""

TENANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TENANT_NAME_RULE = "expected letters, digits, '.', '_' and '-', at most 63, the first a letter or digit"

MAX_SEQUENCE_ID = 2**64 - 1  # an integer sequence id of the Open Inference Protocol
MAX_SEQUENCE_ID_LENGTH = 128  # of a sequence id that is a string

MAX_STEP = 2**53 - 1  # the largest integer every JSON implementation keeps (RFC 8259, section 6)

# "/" keeps these names apart from those of `POST /predict`.
_V2_SESSION_NAME = re.compile(r"v2/[!-.0-~]{1,128}/(s/)?[ -~]{1,128}")
SESSION_NAME_PATTERN = f"^({SESSION_NAME.pattern}|{_V2_SESSION_NAME.pattern})$"  # for the documentation


def names_number(version: str | None) -> bool:
    """Whether a request's version is a number. An alias is not: it may come to name another version."""
    return version is not None and version.isdecimal()


def is_stateless(name: str) -> bool:
    """Whether a name of `/v2` is the second name of a model, under which it has no sequences."""
    return name.endswith(_STATELESS)


def model_name(name: str) -> str:
    """The model of a name of `/v2`."""
    return name.removesuffix(_STATELESS)


def v2_session_name(model: str, sequence_id: int | str) -> str:
    """The session of a sequence id of `/v2`. Ids belong to a model; 42 and "42" are two ids."""
    return f"v2/{model}/{sequence_id}" if isinstance(sequence_id, int) else f"v2/{model}/s/{sequence_id}"


def is_session_name(name: str) -> bool:
    """Whether a session can have that name: one of `/predict`, or one of `/v2`."""
    return bool(SESSION_NAME.fullmatch(name) or _V2_SESSION_NAME.fullmatch(name))


def check_session_name(name: str, pointer: str | None = None) -> str:
    """The name, if a session can have it. Raises InvalidField."""
    if not is_session_name(name):
        raise InvalidField(SESSION_NAME_RULE, pointer=pointer)
    return name


def file_of_session(name: str, *, is_state: bool = False) -> str:
    """The name of the file that a session is exported to: no folder, no hidden file, nothing to quote.

    It has at most 255 characters, the most that file systems take. `is_state`: of its state alone.
    """
    suffix = ".safetensors" if is_state else ".cgs"
    return re.sub(r"^\.|[^A-Za-z0-9._-]", "_", name)[: 255 - len(suffix)] + suffix
