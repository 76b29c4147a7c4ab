"""Build the website of docs/: python -m deploy.site [--out build/site] [--install]

Every page is there as HTML and, beside it, as Markdown; llms.txt lists them. Fails with a warning of the
builder, such as a link that leads nowhere. With --install, a server of this clone has it at /docs/guide, as
have wheels and images that are built from the clone. The tools are those of the extra `dev`.
"""

import functools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click

from deploy.site.reference import PAGES

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("zensical.toml")
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
# Files of the repository that are pages of the site, with what they are called there.
OTHERS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
PICTURES = "benchmarks/measured"
LIST = "llms.txt"  # of the pages
INSTALLED = ROOT / "service" / "guide"
# Not for a server: the models of the examples, figures as JSON, files for search engines, an unused style.
LEFT_OUT = shutil.ignore_patterns("examples", "lag.json", "scores.json", "sitemap.xml", "404.html", "classic")


def write_pages(folder: Path) -> None:
    """The pages that the builder reads: those of docs/, others of the repository, and the reference."""
    pages = folder / "pages"
    shutil.copytree(ROOT / "docs", pages)
    documents = {f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")}
    for source, target in (documents | OTHERS).items():
        moved = functools.partial(_moved, folder=(ROOT / source).parent)
        (pages / target).write_text(LINK.sub(moved, (ROOT / source).read_text()))
    shutil.copytree(ROOT / PICTURES, pages / PICTURES)
    (pages / "reference").mkdir()
    for name, write in PAGES.items():
        (pages / "reference" / name).write_text(write())
    shutil.copy(CONFIG, folder)


def _moved(link: re.Match[str], folder: Path) -> str:
    """A link of a file in `folder`, as it is in the site. What leads nowhere there, the builder reports."""
    target, mark, anchor = link[2].partition("#")
    if not target or re.match(r"\w+:", target):
        return link[0]
    name = str((folder / target).resolve().relative_to(ROOT))
    return f"]({OTHERS.get(name, name.removeprefix('docs/'))}{mark}{anchor})"


def write_copies(pages: Path, site: Path) -> None:
    """Each page as Markdown beside its HTML, and llms.txt, the list of them (llmstxt.org)."""
    config = tomllib.loads(CONFIG.read_text())["project"]
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}"]
    for heading, names in _sections(config["nav"]):
        lines += ["", f"## {heading}", ""]
        for name in names:
            text = (pages / name).read_text()
            target = site / ("index.md" if name == "index.md" else f"{name.removesuffix('.md')}/index.md")
            target.write_text(text)
            title = re.search(r"^# (.*)$", text, re.MULTILINE)
            lines.append(f"- [{title[1] if title else name}]({target.relative_to(site)})")
    (site / LIST).write_text("\n".join(lines) + "\n")


def _sections(nav: list[dict[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    for section in nav:
        yield from section.items()


def install(site: Path, target: Path) -> int:
    """Copy what a server needs of a website into `target`, in place of what was there. Returns its bytes."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(site, target, ignore=LEFT_OUT)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


@click.command()
@click.option("--install", "installs", is_flag=True, help="Also put it into the package, for /docs/guide.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "build" / "site")
def main(installs: bool, out: Path) -> None:
    """Build the website into a folder; an earlier one is replaced, any other folder is refused."""
    if out.is_dir() and any(out.iterdir()) and not (out / LIST).is_file():
        raise click.ClickException(f"{out} has files, and is no website that was built before")
    out = out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    work = out.parent / f".{out.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_pages(work)
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=work)
    if done.returncode:
        raise click.ClickException(f"the builder had warnings; its pages are in {work}")
    (work / "site").rename(out)
    write_copies(work / "pages", out)
    shutil.rmtree(work)
    click.echo(f"{out}/index.html")
    if installs:
        size = install(out, INSTALLED)
        click.echo(f"{INSTALLED}, for /docs/guide: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
