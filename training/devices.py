"""Checks that a run's devices are available. Knows no network."""

import torch

from training.config import Config
from training.errors import TrainingError


class DeviceError(TrainingError):
    """The device to train on is not available."""


def check(config: Config) -> None:
    """Raise DeviceError unless the configured number of devices is available."""
    if config.accelerator != "cuda":
        return
    count = torch.cuda.device_count()
    if torch.version.cuda is None:
        raise DeviceError(f"--accelerator cuda: this PyTorch, {torch.__version__}, is built without CUDA")
    if count < config.devices:
        raise DeviceError(
            f"--accelerator cuda --devices {config.devices}: {count} CUDA devices are available"
        )
