"""`cellgate models`: load the models of a repository and list them."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import click

from service.cli.options import CONTEXT, announce, settings_options
from service.settings import Settings


@click.command(context_settings=CONTEXT)
@settings_options("models_dir", "provider")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def models(settings: Settings, as_json: bool) -> None:
    """Load every model as the server would, run its example, and list them.

    One line for each version: name, version, task, exact or inexact, metrics, named initial states. "exact"
    means that batching and chunking change no bit of an output.

    \b
    Examples:
      cellgate models
      cellgate models --models-dir /srv/models --json
    """
    announce(f"loading the models in {settings.models_dir}")
    rows = load_all(settings)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(_line(row))


def load_all(settings: Settings) -> list[dict[str, Any]]:
    """Load each model version, as the server would, and describe it. Raises StartupError if one fails."""
    return asyncio.run(_load(settings))


async def _load(settings: Settings) -> list[dict[str, Any]]:
    """Load each model version. Raises StartupError if one of them fails."""
    from service.parts import batching_of, hardware_of, trials_of
    from service.repository import Loader, Repository, SafeLoader, scan

    with tempfile.TemporaryDirectory(prefix="cellgate-") as shared:
        trials = trials_of(settings.model_copy(update={"store": "memory"}), Path(shared))
        loader = SafeLoader(Loader(batching_of(settings), hardware_of(settings, None)), trials)
        loader.try_all(list(scan(settings.models_dir)))
        repository = Repository.load(settings.models_dir, loader)
    return [
        {
            "name": model.name,
            "version": model.version,
            "task": model.manifest.task,
            "sessions": model.manifest.chunkable,
            "exact": model.is_exact,
            "fingerprint": model.binding.graph.hex(),
            "optimization": model.optimization,
            "states": list(model.states),
            "metrics": model.manifest.metrics,
        }
        for model in repository
    ]


def _line(row: dict[str, Any]) -> str:
    exact = "exact" if row["exact"] else "inexact"
    metrics = ", ".join(f"{name} {value:g}" for name, value in row["metrics"].items())
    states = f"states: {', '.join(row['states'])}" if row["states"] else ""
    notes = "  ".join(filter(None, (metrics, states)))
    return f"{row['name']:20} {row['version']:>4}  {row['task']:10} {exact:8} {notes}".rstrip()
