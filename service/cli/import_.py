"""`cellgate import`: propose a manifest for a graph, try it, and place it as the next version of a model."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from service.cli.inspect import show
from service.cli.options import CONTEXT, announce, settings_options
from service.cli.proposal_options import proposal_options
from service.errors import StartupError
from service.names import MODEL_NAME
from service.settings import Settings

FIRST = "1"  # the version of the copy while it is tried


@click.command("import", context_settings=CONTEXT)
@click.argument("graph", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--name", required=True, help="of the model")
@settings_options("models_dir", "provider")
@proposal_options
def import_(settings: Settings, graph: Path, name: str, options: dict[str, Any]) -> None:
    """Serve an ONNX graph: propose a manifest, try the graph as the server would, and place it.

    The graph is copied with its external files, and appears as the next version of the model by one rename; a
    running server loads it. If a field is open, nothing is copied: the draft is printed, stderr explains the
    open fields, and the exit status is 1.

    \b
    Examples:
      cellgate import other.onnx --name other
      cellgate import detector.onnx --name vad --constant sr=16000 --window 576 --hop 512
    """
    announce(f"running {graph} on random values")
    from service.repository import Options, copy_graph, place, propose_apart

    if not MODEL_NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r}: expected letters, digits, '.', '_', '-'", param_hint="--name")
    draft = propose_apart(graph, Options(**options))
    show(draft.notes, draft.open)
    if draft.manifest is None:
        click.echo(draft.text, nl=False)
        sys.exit(1)
    try:
        settings.models_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.models_dir, prefix=".import-") as root:
            staged = Path(root) / name / FIRST
            copy_graph(graph, staged)
            draft.manifest.write(staged)
            exact = _try(settings, Path(root))
            target = place(staged, settings.models_dir, name)
    except OSError as error:
        raise StartupError(f"{settings.models_dir}: {error.strerror}") from error
    click.echo(f"placed {target}, {exact}: check task, kinds, labels and the example in its model.json")


def _try(settings: Settings, root: Path) -> str:
    """Load the version below `root` as the server would; "exact" or "inexact". Raises StartupError."""
    from service.cli.models import load_all

    (model,) = load_all(settings.model_copy(update={"models_dir": root}))
    return "exact" if model["exact"] else "inexact"
