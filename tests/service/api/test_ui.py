"""`GET /ui`: the files of the page, what browsers may do with them, and their types."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service import api as package
from service.errors import NotFound
from service.settings import Settings
from tests.service.api.parts import Api

FOLDER = Path(package.__file__).parents[1] / "ui"


def test_the_page_and_its_files_are_served_with_a_strict_policy(api: Api) -> None:
    page = api.request("GET", "/ui")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    linked = re.findall(r'(?:src|href)="(ui/[^"]+)"', page.text)
    assert len(linked) == 3
    for path in ("/ui", *(f"/{each}" for each in linked)):
        answer = api.request("GET", path)
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["permissions-policy"].startswith("microphone=(self), camera=()")
        again = api.request("GET", path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/ui/index.html", "/ui/nowhere.js", "/ui/..%2f__init__.py", "/ui/%2e%2e"])
def test_no_other_file_is_served(api: Api, path: str) -> None:
    with pytest.raises(NotFound):
        api.request("GET", path)


def test_nothing_is_loaded_from_elsewhere_and_no_script_is_inline() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script[^>]*>[^<]|\son\w+=|style=|<style", page)
    for file in FOLDER.iterdir():
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", file.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 200_000


def test_the_page_is_for_this_machine_unless_a_setting_says_otherwise() -> None:
    assert [Settings(host=host).serves_ui for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not Settings(host="0.0.0.0").serves_ui and not Settings(host="192.0.2.1").serves_ui
    assert Settings(host="0.0.0.0", ui="on").serves_ui and not Settings(ui="off").serves_ui


@pytest.mark.skipif(shutil.which("tsc") is None, reason="no TypeScript on PATH (Debian: node-typescript)")
def test_the_scripts_are_typed() -> None:
    done = subprocess.run(
        ["tsc", "-p", str(Path(__file__).with_name("ui.tsconfig.json"))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
