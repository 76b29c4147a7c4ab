"""Every block of docs/python-client.md runs, in order, and prints what the page shows."""

import contextlib
import io
import re

import pytest

from cellgate import Client
from tests.e2e.server import ROOT, Server

PAGE = (ROOT / "docs" / "python-client.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def test_every_block_prints_what_the_page_shows(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, object] = {}
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) >= 8
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"), namespace)
        assert printed.getvalue() == shown, code
    client = namespace["client"]
    assert isinstance(client, Client)
    client.close()
