"""Every block of the pages of the Python client runs, in order, and prints what the page shows."""

import contextlib
import io
import re

import pytest

from cellgate import Client
from tests.e2e.server import ROOT, Server

PAGES = ("python-client.md", "python-streams.md")
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_prints_what_the_page_shows(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, object] = {}
    blocks = BLOCK.findall((ROOT / "docs" / name).read_text())
    assert len(blocks) >= 5
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"), namespace)
        assert printed.getvalue() == shown, code
    client = namespace["client"]
    assert isinstance(client, Client)
    client.close()
