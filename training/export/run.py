"""Exports a finished run, and records in its folder where the model is. Knows nothing of the command line."""

import json
from pathlib import Path

from service.manifest import Manifest
from training import run
from training.calibration import settings
from training.export import export

EXPORT_FILE = "export.json"  # in a run folder: the folder of its latest export


def export_run(
    done: run.Run,
    folder: Path,
    *,
    slack: float = 1.0,
    force: bool = False,
    is_portable: bool = False,
    shows_gates: bool = False,
) -> Manifest:
    """Export a finished run into `folder`, and record that in the run folder.

    `slack`: of the parity check; see `parity.check`. `is_portable`: with standard operators only.
    `shows_gates`: with the gates of each layer as outputs. Raises FileExistsError unless `force` or the
    folder holds the same version, CellError and ParityError; in all cases nothing is written.
    """
    command = f"{run.command(done.config, is_public=True)} --export {folder}"
    command += " --trace" if shows_gates else ""
    manifest = export(
        done.network,
        done.data,
        folder,
        metrics=done.test_metrics() | settings(done.metrics),
        command=command if slack == 1 else f"{command} --parity {slack:g}",
        seed=done.config.seed,
        slack=slack,
        force=force,
        is_portable=is_portable,
        shows_gates=shows_gates,
    )
    (done.folder / EXPORT_FILE).write_text(json.dumps({"folder": str(folder.resolve())}) + "\n")
    return manifest


def exported_model(run_folder: Path) -> Path | None:
    """The folder of the model that a run was last exported to; None without an export or the folder."""
    try:
        version = Path(json.loads((run_folder / EXPORT_FILE).read_text())["folder"])
    except FileNotFoundError:
        return None
    model = version.parent
    here = Path.cwd()
    if not model.is_dir():
        return None
    return model.relative_to(here) if model.is_relative_to(here) else model
