"""Devices are checked before a training."""

from typing import Any

import pytest
import torch

from training import devices
from training.config import Config, Recipe


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_devices_are_checked_for_cuda_alone(accelerator: Any) -> None:
    devices.check(Config(data="d", recipe=Recipe(), accelerator=accelerator, devices=64))


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch has CUDA")
def test_a_pytorch_without_cuda_is_reported() -> None:
    with pytest.raises(devices.DeviceError, match="is built without CUDA"):
        devices.check(Config(data="d", recipe=Recipe(), accelerator="cuda"))
