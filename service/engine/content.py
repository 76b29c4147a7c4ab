"""A graph and its external files in memory, to be opened in the place of the files on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnxruntime as ort

from service.errors import StartupError


@dataclass(slots=True, frozen=True)
class GraphContent:
    """The bytes of a graph and of the files that hold its weights."""

    graph: bytes
    files: Mapping[str, bytes | bytearray] = field(default_factory=dict)  # by the name that the graph gives

    def provide_to(self, options: ort.SessionOptions) -> None:
        """Have a session read the files from memory. It copies what it needs when it is created.

        Otherwise it would map the files: one that is overwritten in place would change the weights, and one
        that is truncated would end the process. Raises StartupError if ONNX Runtime cannot do so.
        """
        if not self.files:
            return
        if not hasattr(options, "add_external_initializers_from_files_in_memory"):
            raise StartupError(
                f"weights in external files need a later ONNX Runtime than {ort.__version__}: "
                "pip install -U onnxruntime"
            )
        options.add_external_initializers_from_files_in_memory(
            list(self.files), list(self.files.values()), [len(content) for content in self.files.values()]
        )
