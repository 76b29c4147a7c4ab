"""The commands of a document's code blocks, and why some are not run here. Knows no server."""

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(console|sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r" {2,}#.*$| +# prints.*$")

# The start of a command that this machine cannot run, and what it needs.
NOT_RUN = {
    "docker ": "a container engine",
    "make docker": "a container engine",
    "kubectl ": "a Kubernetes cluster",
    "pip uninstall ": "an installation that it may change",
    "pip install ": "an installation that it may change",
    ".venv/bin/pre-commit ": "a clone whose hooks it may change",
    "make bench": "half an hour",
    "CELLGATE_PROVIDER=cuda make bench": "a GPU",
    "python -m benchmarks": "minutes of an idle machine",
    "make loadtest": "an installation of Locust",
    "make lint": "the whole suite: it is what runs this",
    "make test": "the whole suite: it is what runs this",
    "make check": "the whole suite: it is what runs this",
    "cellgate-train train vowels --devices 4 --accelerator cuda": "four GPUs",
}


@dataclass(frozen=True)
class Step:
    """One command of a console, or one program in Python."""

    language: str
    text: str

    @property
    def needs(self) -> str | None:
        """What is missing here to run it; None where it is run."""
        return next((why for start, why in NOT_RUN.items() if self.text.startswith(start)), None)


def steps(document: Path) -> list[Step]:
    """All steps of a document, in order; comments behind commands are cut off."""
    found: list[Step] = []
    for language, text in BLOCK.findall(document.read_text()):
        if language == "python":
            found.append(Step("python", text))
            continue
        lines = text.replace("\\\n", "").splitlines()
        if language == "console":
            commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        else:
            commands = re.split(r"\n(?=[a-z$A-Z])", text.replace("\\\n", "").strip())
        found += [Step("console", COMMENT.sub("", command).strip()) for command in commands]
    return found
