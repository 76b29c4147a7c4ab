"""The wheel: it serves its example model and its website without a clone, and `cellgate demo` works."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import expect, sync_playwright

from deploy.site.__main__ import install
from deploy.site.__main__ import main as build_site
from tests.committed import ROOT
from tests.e2e.server import Server
from tests.environment import isolate

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is: with the website."""
    clone, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for name in ("cellgate", "service", "training", "models/vowels"):
        ignored = shutil.ignore_patterns("__pycache__", "guide")
        shutil.copytree(ROOT / name, clone / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, clone)
    done = CliRunner().invoke(build_site, ["--out", str(folder / "site")])
    assert done.exit_code == 0, done.output
    install(folder / "site", clone / "service" / "guide")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        str(clone),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the wheel, in a folder without a clone."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_has_the_packages_the_page_and_the_example_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "cellgate/py.typed",
        "service/ui/index.html",
        "service/demo_models/vowels/1/model.onnx",
        "service/demo_models/vowels/1/model.json",
        "service/guide/index.html",
        "service/guide/search.json",
    } <= names
    assert wheel.stat().st_size < 8_000_000
    assert not [name for name in names if name.startswith(("tests/", "models/", "benchmarks/", "deploy/"))]


def test_the_demo_of_an_installed_wheel_keeps_its_promises(installed: Path, tmp_path: Path) -> None:
    environ = dict(os.environ)
    isolate(environ)
    environ |= {"PYTHONPATH": str(installed), "CELLGATE_MODELS_DIR": "/nowhere"}
    command = [sys.executable, "-m", "service", "demo", "--no-browser", "--no-stay"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [line.split()[0] for line in done.stdout.splitlines()]
    assert shown == [
        "Ready", "Predict", "Session", "Session", "kill", "Start", "Resume", "Retry", "Fork", "Rewind", "The",
    ]  # fmt: skip
    assert done.stdout.count("the same bits as") == 3


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_the_website_of_an_installed_wheel_works_in_a_browser_with_the_strict_policy(
    installed: Path, tmp_path: Path
) -> None:
    """The search adds a style to the page, and pages have scripts within them: their hashes are allowed."""
    expect.set_options(timeout=60_000)
    server = Server(tmp_path, home=installed)
    faults: list[str] = []
    try:
        server.start()
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-dev-shm-usage"]
            page = playwright.chromium.launch(executable_path=CHROMIUM, args=options).new_page()
            page.set_default_timeout(60_000)
            page.on(
                "console", lambda message: faults.append(message.text) if message.type == "error" else None
            )
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto(f"{server.url}/docs")
            link = page.get_attribute("a:has-text('Guide of this version')", "href")
            page.goto(f"{server.url}/{link}")
            expect(page.locator("h1")).to_contain_text("Cellgate")
            page.click("nav >> text=Session guarantees")
            expect(page).to_have_url(f"{server.url}/docs/guide/sessions/")
            page.keyboard.press("/")
            page.keyboard.type("rewind")
            page.click("ol >> text=Checkpoints and rewind")
            expect(page.locator("h1")).to_contain_text("Checkpoints and rewind")
    finally:
        server.reap()
    assert faults == []
