"""A graph and its external files in memory, to be opened in the place of the files on disk."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime as ort

from service.errors import StartupError
from service.manifest import GRAPH_FILE

MAX_FROM_MEMORY = 1 << 30  # bytes of files


@dataclass(slots=True, frozen=True)
class GraphContent:
    """The bytes of a graph and of the files that hold its weights."""

    graph: bytes
    files: Mapping[str, bytes | bytearray] = field(default_factory=dict)  # by the name that the graph gives
    is_nested: bool = False  # whether a subgraph or a function names such a file

    @contextlib.contextmanager
    def source(self, options: ort.SessionOptions) -> Iterator[str | bytes]:
        """What a session is created from, within the block: not the files on disk.

        ONNX Runtime would map those: one that is overwritten in place would change the weights, and one that
        is truncated would end the process. It reads files from memory, but not those of subgraphs, nor
        tensors of 2 GiB: then all files are copied to a private folder.

        Raises StartupError if neither is possible.
        """
        if self.is_nested or sum(map(len, self.files.values())) > MAX_FROM_MEMORY:
            with self._copied() as path:
                yield path
            return
        if self.files:
            if not hasattr(options, "add_external_initializers_from_files_in_memory"):
                raise StartupError(
                    f"weights in external files need a later ONNX Runtime than {ort.__version__}: "
                    "pip install -U onnxruntime"
                )
            sizes = [len(content) for content in self.files.values()]
            options.add_external_initializers_from_files_in_memory(
                list(self.files), list(self.files.values()), sizes
            )
        yield self.graph

    def write(self, folder: Path) -> None:
        """Write all files below a folder, which none of their names leaves. Raises OSError."""
        for name, content in {GRAPH_FILE: self.graph, **self.files}.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    @contextlib.contextmanager
    def _copied(self) -> Iterator[str]:
        """The path of the graph in a folder that is deleted after the block; what is mapped stays."""
        try:
            with tempfile.TemporaryDirectory(prefix="cellgate-graph-") as folder:
                self.write(Path(folder))
                yield str(Path(folder, GRAPH_FILE))
        except OSError as error:
            raise StartupError(
                f"the external files cannot be copied to {tempfile.gettempdir()} (TMPDIR): {error}"
            ) from error
