"""Devices are checked before a training."""

import sys
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


def test_float16_needs_a_gpu() -> None:
    config = Config(data="vowels", recipe=Recipe(), accelerator="cpu", precision="16-mixed")
    with pytest.raises(devices.DeviceError, match="16-mixed: only GPUs train in float16"):
        devices.check(config)


def test_a_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data="vowels", recipe=Recipe(), accelerator="cpu", compile=True)
    monkeypatch.setenv("CXX", sys.executable)
    devices.check(config)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(devices.DeviceError, match="needs the compiler no-such-compiler"):
        devices.check(config)
