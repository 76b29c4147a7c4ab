"""Exports a network: graph, parity check, example, manifest. Knows nothing of how the network was trained.

A version folder appears whole and checked, or not at all.
"""

import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from training.cells.cell import Gates
from training.config import PoolName
from training.data.dataset import DataSet, Split
from training.export import parity
from training.export.example import example_sequence
from training.export.gates import check_gates
from training.export.manifest import describe
from training.export.network import write_graph
from training.export.parity import ParityError
from training.model import Network, numeric_inputs

__all__ = ["ParityError", "export", "random_network", "write_version"]


def export(
    network: Network,
    data: DataSet,
    folder: Path,
    *,
    metrics: dict[str, float],
    command: str,
    seed: int,
    slack: float = 1.0,
    force: bool = False,
    is_portable: bool = False,
    shows_gates: bool = False,
) -> Manifest:
    """Write `model.onnx` and `model.json` into `folder`; return the manifest.

    `slack`: of the parity check; see `parity.check`. `is_portable`: with standard operators only.
    `shows_gates`: with the gates of each layer as outputs. Raises FileExistsError unless `force`, or the
    folder holds the same version, CellError and ParityError; in all cases nothing is written.
    """
    network = network.cpu().eval()
    gates: list[Gates] = []
    graph = write_graph(
        network, is_portable=is_portable, gates=gates if shows_gates else None
    ).SerializeToString()
    compared = parity.check(graph, network, data.test, slack=slack)
    if gates:
        check_gates(graph, network, gates, example_sequence(network, data), slack=slack)
    manifest = describe(
        network, data, metrics=metrics, parity=compared, command=command, seed=seed, gates=gates
    )
    manifest = _keep_date(manifest, graph, folder)
    if folder.exists() and not force:
        if not (folder / MANIFEST_FILE).is_file() or Manifest.read(folder) != manifest:
            raise FileExistsError(f"{folder} exists; --force replaces it")
        return manifest
    write_version(folder, graph, manifest)
    return manifest


def write_version(folder: Path, graph: bytes, manifest: Manifest) -> None:
    """Replace the version in `folder` by this one, atomically."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        (fresh / GRAPH_FILE).write_bytes(graph)
        manifest.write(fresh)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)


def _keep_date(manifest: Manifest, graph: bytes, folder: Path) -> Manifest:
    """The manifest with the date of the version it replaces, if only the date would change."""
    if not (folder / GRAPH_FILE).is_file() or (folder / GRAPH_FILE).read_bytes() != graph:
        return manifest
    old = Manifest.read(folder)
    assert manifest.provenance is not None
    created = old.provenance.created if old.provenance else ""
    dated = manifest.model_copy(
        update={"provenance": manifest.provenance.model_copy(update={"created": created})}
    )
    return dated if dated == old else manifest


def random_network(
    *,
    cell: str,
    features: int,
    hidden: int,
    layers: int,
    classes: int,
    seed: int,
    projection: int = 0,
    pool: PoolName | Literal["auto"] = "auto",
    zoneout: float = 0.0,
) -> tuple[Network, DataSet]:
    """An untrained network of any size, and random sequences to check its export on. Raises CellError."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(
            cell=cell,
            features=features,
            hidden=hidden,
            layers=layers,
            out=classes,
            projection=projection,
            pool=pool,
            zoneout=zoneout,
        )
    sequences = tuple(
        rng.standard_normal((int(length), features)).astype(np.float32) for length in rng.integers(1, 30, 32)
    )
    split = Split(sequences, rng.integers(0, classes, 32))
    data = DataSet(
        name="random",
        title="none: random weights",
        citation="",
        license="",
        inputs=numeric_inputs(features),
        labels=tuple(str(label) for label in range(classes)),
        train=split,
        test=split,
    )
    return network, data
