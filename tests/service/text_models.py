"""Small language models over text, random weights: written by the exporter."""

from pathlib import Path

import numpy as np
import torch

from service.manifest import Manifest
from training.data import tokens
from training.data.dataset import DataSet, Input, Split, each_step
from training.export import export
from training.model import Network

TEXTS = ("the cat sat on the mat. ", "the dog sat on the cat, ", "on the mat sat the dog! ")


def language(spec: Input, title: str = "invented") -> tuple[Network, DataSet]:
    """A network that predicts the next token of `spec`, and the texts it could have learnt from."""
    sequences = tuple(tokens.read(spec, text) for text in TEXTS)
    targets = each_step([np.roll(sequence[:, 0], -1).astype(np.int64) for sequence in sequences])
    split = Split(sequences, targets)
    data = DataSet(
        name="text", title=title, citation="", license="", inputs=(spec,), labels=spec.vocabulary,
        train=split, test=split, task="language",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(
            cell="lstm", features=data.inputs, hidden=12, layers=1, out=data.out, embedding=6
        ).eval()
        torch.nn.init.normal_(network.head.weight, std=2.0)  # so that the answers differ
    return network, data


def write(root: Path, name: str, spec: Input) -> Manifest:
    """Write `root`/`name`/1."""
    network, data = language(spec)
    return export(network, data, root / name / "1", metrics={}, command="", seed=0)
