"""Checks that a run's devices are available, and can do what it asks of them. Knows no network."""

import os
import shutil
from importlib.util import find_spec

import torch

from training.config import Config
from training.errors import TrainingError


class DeviceError(TrainingError):
    """The device to train on is not available."""


def check(config: Config) -> None:
    """Raise DeviceError unless the devices are available, with the precision and the compiler of the run."""
    if config.accelerator == "cuda":
        _check_cuda(config)
    is_cpu = config.accelerator == "cpu" or not torch.cuda.is_available()
    if is_cpu and config.precision == "16-mixed":
        raise DeviceError("--precision 16-mixed: only GPUs train in float16; a CPU does in bf16-mixed")
    if config.compile:
        _check_compiler(is_cpu=is_cpu)


def _check_cuda(config: Config) -> None:
    count = torch.cuda.device_count()
    if torch.version.cuda is None:
        raise DeviceError(f"--accelerator cuda: this PyTorch, {torch.__version__}, is built without CUDA")
    if count < config.devices:
        raise DeviceError(
            f"--accelerator cuda --devices {config.devices}: {count} CUDA devices are available"
        )


def _check_compiler(*, is_cpu: bool) -> None:
    compiler = os.environ.get("CXX", "g++") if is_cpu else os.environ.get("CC", "gcc")
    if shutil.which(compiler) is None:
        raise DeviceError(
            f"--compile: torch.compile needs the compiler {compiler}, which is not installed "
            f"(apt-get install g++); {'CXX' if is_cpu else 'CC'} names another one"
        )
    if not is_cpu and find_spec("triton") is None:
        raise DeviceError("--compile: torch.compile needs Triton on a GPU, which is not installed")
