"""A graph that shows its gates, opened twice: without them, and whole for the sequences that request them.

    batch ─┬─ sequences without gates → the graph without the nodes of gates, as if it had none
           └─ sequences with gates ───→ the whole graph

ONNX Runtime computes every node of a graph, whatever a call requests. Both graphs give the same answers and
states, and a load tries that.
"""

from pathlib import Path
from typing import Any

from service.engine.content import GraphContent
from service.errors import CellgateError, StartupError
from service.manifest import Manifest
from service.repository.graph_file import GraphFile
from service.repository.model import ModelEngine, OpenEngine
from service.repository.pruned import pruned
from service.repository.rehearsal import Rehearsal
from service.repository.rows import Answer, Bench, Row
from service.sequence import Batch, Chunk, Engine, Result


class TracedEngine:
    """Implements `ModelEngine`: calls of a graph with gates, and of the same graph without."""

    def __init__(self, plain: ModelEngine, whole: ModelEngine, manifest: Manifest) -> None:
        """`manifest`: of the whole graph, whose gates are behind all other outputs."""
        self._plain = plain
        self._whole = whole
        self._first_gates = manifest.gates[0]
        self.layout, self.initial_state = plain.layout, plain.initial_state
        self.provider, self.output_dtype = plain.provider, plain.output_dtype
        self.output_dtypes = whole.output_dtypes
        self.resume, self.keep = plain.resume, plain.keep

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch, in two calls if only some sequences want gates; one result per chunk, in order."""
        for chunk in batch.chunks:
            if chunk.sequence.extra and self._wants_gates(chunk):
                return self._run_both(batch)
        return self._plain.run(batch)

    def _wants_gates(self, chunk: Chunk) -> bool:
        return max(chunk.sequence.extra, default=0) >= self._first_gates

    def _run_both(self, batch: Batch) -> list[Result]:
        """`run`, where some sequence wants gates."""
        wants = [self._wants_gates(chunk) for chunk in batch.chunks]
        if all(wants):
            return self._whole.run(batch)
        parts = {
            has_gates: iter(
                engine.run(Batch([c for c, w in zip(batch.chunks, wants, strict=True) if w is has_gates]))
            )
            for has_gates, engine in ((False, self._plain), (True, self._whole))
        }
        return [next(parts[has_gates]) for has_gates in wants]


def opening(
    open_engine: OpenEngine,
    graph: GraphFile,
    content: GraphContent,
    whole: Manifest,
    *,
    shows_gates: bool,
) -> OpenEngine:
    """How the graph of a manifest with gates is opened. `content`: of the whole graph.

    What it returns takes the manifest without gates, as all requests see it but those for gates.
    `shows_gates`: whether there are such requests.
    """
    unwanted = {whole.outputs[index].name for index in whole.gates}
    without = GraphContent(pruned(content.graph, graph, unwanted), content.files, content.is_nested)

    def open_both(graph: Path, manifest: Manifest, **options: Any) -> ModelEngine:
        plain = open_engine(graph, manifest, **options | {"content": without})
        if not shows_gates:
            return plain
        return TracedEngine(plain, open_engine(graph, whole, **options | {"content": content}), whole)

    return open_both


def check_traced(rehearsal: Rehearsal, engine: Engine, manifest: Manifest, *, rounding: float) -> float:
    """The max abs difference that a request for gates makes in the answer and the state of the example.

    `rehearsal`: of the manifest without gates. Gates of a sequence in pieces may differ by `rounding`,
    relative to the largest. Raises StartupError if they differ by more, or the graph fails.
    """
    _, inputs, state = rehearsal.read_example()
    plain, whole = Bench(rehearsal.manifest, engine), Bench(manifest, engine)
    row, multiple = Row(inputs, state), manifest.step_multiple
    try:
        expected = plain.alone(Row(inputs, state), row.steps)
        traced = whole.alone(row, row.steps)
        half = row.steps // multiple // 2 * multiple
        if manifest.chunkable and half:
            cut = whole.compare(whole.in_pieces(row, (half, row.steps)), traced)
            if not cut.relative <= rounding:
                raise StartupError(f"{rehearsal.folder}: in pieces, {cut.tensor} differs by {cut.absolute:g}")
    except StartupError:
        raise
    except CellgateError as error:
        raise StartupError(f"{rehearsal.folder}: the graph fails with its gates: {error.detail}") from error
    shown = Answer(traced.outputs[: len(expected.outputs)], traced.state)
    return plain.compare(shown, expected).absolute
