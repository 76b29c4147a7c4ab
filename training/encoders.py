"""Learned encoders of one input: a projection of wide steps, convolutions of frames. Know no cell or task.

    numbers ─ dense ─ [.., width]
    frame [height, width] ─ conv, ReLU ─ conv, ReLU ─ dense ─ [.., width]

Each step is encoded alone, so an encoder has no state.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from training.graph import Graph

MAPS = (8, 16)  # feature maps of the convolutions; each halves height and width


class Encoder(nn.Module):
    """Turns the normalised numbers of a step into `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, z: Tensor) -> Tensor:
        """[batch, time, columns] → [batch, time, width]."""
        raise NotImplementedError

    def write(self, graph: Graph, name: str, z: str) -> str:
        """Append the nodes: z [time, batch, ...] → [time, batch, width]. `name` is the input's."""
        raise NotImplementedError


class Projection(Encoder):
    """A dense layer, for inputs with many numbers a step."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__(width)
        self.dense = nn.Linear(columns, width)

    def forward(self, z: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        projected: Tensor = self.dense(z)
        return projected

    def write(self, graph: Graph, name: str, z: str) -> str:
        """See `Encoder.write`."""
        return _write_dense(graph, name, z, self.dense)


class Frames(Encoder):
    """Two convolutions and a dense layer, for one frame a step."""

    def __init__(self, frame: tuple[int, int], width: int) -> None:
        super().__init__(width)
        self.frame = frame
        self.first = nn.Conv2d(1, MAPS[0], 3, stride=2, padding=1)
        self.second = nn.Conv2d(*MAPS, 3, stride=2, padding=1)
        height, across = (-(-side // 4) for side in frame)  # halved twice, rounded up
        self.dense = nn.Linear(MAPS[1] * height * across, width)

    def forward(self, z: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        frames = z.reshape(-1, 1, *self.frame)
        maps = self.second(self.first(frames).relu()).relu()
        encoded: Tensor = self.dense(maps.flatten(1)).reshape(*z.shape[:2], self.width)
        return encoded

    def write(self, graph: Graph, name: str, z: str) -> str:
        """See `Encoder.write`; z is [time, batch, height, width]."""
        single = graph.weight(f"{name}_frame_shape", np.array([-1, 1, *self.frame]))
        x = graph.add("Reshape", [z, single], [f"{name}_frames"])
        for number, layer in enumerate((self.first, self.second)):
            weights = [
                graph.weight(f"{name}_conv_{number}_{what}", _array(parameter))
                for what, parameter in (("w", layer.weight), ("b", layer.bias))
            ]
            convolved = graph.add(
                "Conv", [x, *weights], [f"{name}_conv_{number}"], strides=[2, 2], pads=[1, 1, 1, 1]
            )
            x = graph.add("Relu", [convolved], [f"{name}_maps_{number}"])
        flat = graph.add("Flatten", [x], [f"{name}_flat"])
        encoded = _write_dense(graph, f"{name}_encoded", flat, self.dense)
        steps = graph.add("Shape", [z], [f"{name}_steps_and_rows"], end=2)
        width = graph.weight(f"{name}_encoded_width", np.array([self.width]))
        shape = graph.add("Concat", [steps, width], [f"{name}_encoded_shape"], axis=0)
        return graph.add("Reshape", [encoded, shape], [f"{name}_by_step"])


def _write_dense(graph: Graph, name: str, x: str, dense: nn.Linear) -> str:
    weight = graph.weight(f"{name}_dense_w", np.ascontiguousarray(_array(dense.weight).T))
    product = graph.add("MatMul", [x, weight], [f"{name}_product"])
    return graph.add("Add", [product, graph.weight(f"{name}_dense_b", _array(dense.bias))], [f"{name}_dense"])


def _array(parameter: Tensor | None) -> NDArray[np.float32]:
    assert parameter is not None
    array: NDArray[np.float32] = parameter.detach().cpu().numpy().astype(np.float32)
    return array
