"""Puts a new version into the model folder, so that a server which watches it sees all of it or nothing.

It copies and renames files; it opens no graph.
"""

import shutil
from pathlib import Path

from service.errors import StartupError
from service.manifest import GRAPH_FILE
from service.names import MODEL_VERSION
from service.repository.graph_file import GraphFile


def copy_graph(graph: Path, folder: Path) -> Path:
    """Copy a graph, as model.onnx, and its external files into a new folder. Returns the copy.

    Raises StartupError if a file is missing, or is not a graph.
    """
    files = {GRAPH_FILE: graph}
    files |= {name: graph.parent / name for name in GraphFile.read(graph).external_files}
    try:
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    except OSError as error:
        raise StartupError(f"{error.filename}: {error.strerror}") from error
    return folder / GRAPH_FILE


def place(staged: Path, root: Path, name: str) -> Path:
    """Rename a complete version folder to the next version of a model. Returns its new place.

    `staged` must be on the file system of `root`. Raises StartupError.
    """
    model = root / name
    try:
        model.mkdir(parents=True, exist_ok=True)
        while True:
            target = model / str(_next_version(model))
            try:
                return staged.rename(target)
            except OSError:
                if not target.exists():  # not a version that another import has just placed
                    raise
    except OSError as error:
        raise StartupError(f"{model}: {error.strerror}") from error


def _next_version(model: Path) -> int:
    versions = [int(path.name) for path in model.iterdir() if MODEL_VERSION.fullmatch(path.name)]
    return max(versions, default=0) + 1
