"""Build a release from a clean checkout: python -m deploy.release [--out dist]

Writes the wheel, the source archive, a software bill of materials (CycloneDX) of a fresh installation of the
wheel with the server, and SHA-256 checksums of them all. It publishes nothing. The tools are those of the
extras `dev` and `release`.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]


class ReleaseError(Exception):
    """The checkout cannot be released; the message says why."""


def check(root: Path) -> str:
    """The version to release. Raises ReleaseError for changes that are not committed, or not described."""
    changed = _output("git", "status", "--porcelain", cwd=root)
    if changed:
        raise ReleaseError(f"not committed:\n{changed}")
    version: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$"
    if not re.search(heading, (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'")
    return version


def build(root: Path, out: Path) -> list[Path]:
    """The wheel and the source archive, with the website of this version for /docs/guide."""
    subprocess.run([sys.executable, "-m", "deploy.site", "--install"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, root], check=True)
    return sorted(path for path in out.iterdir() if path.suffix in (".whl", ".gz"))


def describe(wheel: Path, constraints: Path, out: Path) -> Path:
    """The bill of materials of the wheel and of all packages that its server needs."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        install = [python, "-m", "pip", "install", "--quiet", "--constraint"]
        subprocess.run([*install, str(constraints), f"{wheel}[serve]"], check=True)
        path = out / f"{wheel.name.split('-py3')[0]}.cdx.json"
        command = ["environment", python, "--output-reproducible", "--output-file", str(path)]
        subprocess.run([sys.executable, "-m", "cyclonedx_py", *command], check=True)
    return path


def write_checksums(files: list[Path], out: Path) -> Path:
    """The checksums of the files, as `sha256sum --check` reads them."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    path = out / "SHA256SUMS"
    path.write_text("".join(lines))
    return path


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "dist")
def main(out: Path) -> None:
    """Check, build, describe, and print what was written."""
    try:
        version = check(ROOT)
    except ReleaseError as error:
        raise click.ClickException(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise click.ClickException(f"{out} is not empty")
    files = build(ROOT, out)
    wheel = next(path for path in files if path.suffix == ".whl")
    files.append(describe(wheel, ROOT / "constraints.txt", out))
    files.append(write_checksums(files, out))
    click.echo(f"Cellgate {version}:")
    for path in files:
        click.echo(f"  {path.stat().st_size:>12,} bytes  {path}")


def _output(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
