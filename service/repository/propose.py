"""Proposes a manifest for a graph of unknown origin: what can be measured is measured, the rest stays open.

The graph runs on random values at several sizes, whole and in pieces; see `proposal`. What the numbers mean
is not known, so a person must check the draft before it is served.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.errors import StartupError
from service.manifest import MANIFEST_FILE, Manifest
from service.repository.folders import describe_faults
from service.repository.graph_file import GraphFile
from service.repository.probe import Port, Probe, ProbeError
from service.repository.proposal.analysis import analyse
from service.repository.proposal.draft import describe, describe_unmeasured
from service.repository.proposal.example import with_example
from service.repository.proposal.open_fields import OPEN, open_fields
from service.repository.proposal.options import Options
from service.repository.proposal.subject import Subject
from service.repository.proposal.subjects import open_subject


@dataclass(slots=True, frozen=True)
class Draft:
    """A proposed manifest, complete or not."""

    document: dict[str, Any]  # of `model.json`; open fields hold "?"
    open: tuple[str, ...] = ()  # open or wrong fields, each with the option that decides it
    notes: tuple[str, ...] = field(default=())  # what should be checked
    manifest: Manifest | None = None  # of a complete draft

    @property
    def text(self) -> str:
        """The content of `model.json`."""
        if self.manifest is not None:
            return self.manifest.model_dump_json(indent=1) + "\n"
        return json.dumps(self.document, indent=1, ensure_ascii=False) + "\n"


def propose(graph: Path, options: Options | None = None) -> Draft:
    """A draft of the manifest. Raises StartupError only if the file is not an ONNX graph."""
    options = options or Options()
    file = GraphFile.read(graph)
    try:
        probe = Probe.open(graph)
    except StartupError as error:
        return unmeasured(graph, error.detail)
    if probe.fault:
        return unmeasured(graph, probe.fault)
    subject = open_subject(probe, file, options)
    if not subject.sizes_found:
        return unmeasured(graph, _not_run(subject))
    unknown = options.unknown({port.name for port in probe.inputs}, {port.name for port in probe.outputs})
    analysis = analyse(subject, file, options)
    document = describe(analysis, graph.name)
    notes = (*analysis.notes, *analysis.pairing.notes)
    return _complete(probe, document, notes, (*unknown, *analysis.details), options)


def unmeasured(graph: Path, reason: str) -> Draft:
    """A draft from the file alone. Raises StartupError if it is not an ONNX graph."""
    document = describe_unmeasured(GraphFile.read(graph), graph.name)
    return Draft(document, (reason, *open_fields(document)))


def needs_example(folder: Path) -> bool:
    """Whether the manifest of a folder lacks nothing but its example. Raises StartupError."""
    document = _read(folder)
    return document.get("example") in (None, OPEN) and not open_fields(document | {"example": None})


def recompute_example(graph: Path, folder: Path, steps: Any = None) -> Manifest:
    """The manifest of a folder, with the graph's own answer to these steps, or to invented ones.

    Raises StartupError.
    """
    path = folder / MANIFEST_FILE
    document = _read(folder) | {"example": None}
    try:
        return with_example(Probe.open(graph), Manifest.model_validate(document), steps)
    except ValidationError as error:
        faults = open_fields(document) or describe_faults(error)
        raise StartupError(f"{path}: {'; '.join(faults)}") from error
    except (ValueError, ProbeError) as error:
        raise StartupError(f"{path}: the example cannot be computed: {error}") from error


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StartupError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise StartupError(f"{path}: expected a JSON object")
    return document


def _complete(
    probe: Probe, document: dict[str, Any], notes: tuple[str, ...], details: tuple[str, ...], options: Options
) -> Draft:
    """Add the example if nothing is open."""
    if open_fields(document) or details:
        document["example"] = OPEN
        return Draft(document, (*details, *open_fields(document)), notes)
    try:
        manifest = with_example(probe, Manifest.model_validate(document), options.steps)
    except ValidationError as error:
        return Draft(document | {"example": OPEN}, tuple(describe_faults(error)), notes)
    except (ValueError, ProbeError) as error:
        document |= {"example": OPEN}
        return Draft(document, (f"the example cannot be computed: {error}",), notes)
    return Draft(document, (), notes, manifest)


def _not_run(subject: Subject) -> str:
    if subject.fault:
        return f"the graph does not run: {subject.fault}"
    free = [f"--dims {port.name}={_free_sizes(port)}" for port in subject.ports if any(port.variables)]
    constants = [f"--constant {name}=VALUE" for name in subject.constants]
    return (
        "the graph does not run with any of the sizes that were tried, so nothing was measured. If it was "
        "exported for sizes of one example, name those; else export it with axes that may change. "
        f"Settle it with {' '.join((*free, *constants)) or 'another export'}"
    )


def _free_sizes(port: Port) -> str:
    return ",".join(
        "SIZE" if key else str(size) for size, key in zip(port.shape, port.variables, strict=True)
    )
