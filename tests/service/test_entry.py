"""The installed commands where the packages of their extra are missing."""

import subprocess
import sys

import pytest

from tests.committed import ROOT

WITHOUT_CLICK = "import sys; sys.modules['click'] = None; from {package}.entry import main; main()"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("package", "extra"), [("service", "serve"), ("training", "train")])
def test_without_its_extra_a_command_is_one_line_that_names_it(package: str, extra: str) -> None:
    done = run(WITHOUT_CLICK.format(package=package))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: ")
    assert "needs click, which is not installed" in done.stderr
    assert f"cellgate[{extra}]" in done.stderr


def test_with_it_the_command_runs() -> None:
    done = run("import sys; sys.argv = ['cellgate', '--help']; from service.entry import main; main()")
    assert done.returncode == 0, done.stderr
    assert "Usage: cellgate " in done.stdout
