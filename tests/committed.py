"""A copy of the committed model, whatever a user has trained or placed beside it."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
VOWELS = Path("models/vowels/1")

_kept: list[tempfile.TemporaryDirectory[str]] = []  # deleted when the process ends


@cache
def committed_models() -> Path:
    """A models directory with `vowels/1` alone, as it is committed. It lasts as long as the process."""
    _kept.append(tempfile.TemporaryDirectory(prefix="cellgate-models-"))
    copy_committed(ROOT, Path(_kept[-1].name))
    return Path(_kept[-1].name) / VOWELS.parts[0]


def copy_committed(root: Path, folder: Path) -> None:
    """Copy the model below `folder` as git has it; outside a clone, as the files are."""
    listed = subprocess.run(
        ["git", "ls-files", "--error-unmatch", "--", str(VOWELS)], cwd=root, capture_output=True, text=True
    )
    if listed.returncode == 0:
        command = ["git", "checkout-index", f"--prefix={folder}/", "--", *listed.stdout.split()]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    else:
        shutil.copytree(root / VOWELS, folder / VOWELS)
