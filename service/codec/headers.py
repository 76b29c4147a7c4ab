"""Numbers in HTTP headers. It knows no header."""


def read_length(value: bytes, max_length: int) -> int | None:
    """A number of bytes: decimal digits only (RFC 9110, 8.6). None: not that, or more than `max_length`.

    Python refuses to convert some thousand digits, so they are refused before.
    """
    digits = value.lstrip(b"0") or value[-1:]
    if not value.isdigit() or len(digits) > len(str(max_length)):
        return None
    length = int(digits)
    return length if length <= max_length else None
