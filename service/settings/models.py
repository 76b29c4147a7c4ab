"""Where models are, and how they run."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from service.settings.group import Group


class Models(Group):
    """The model repository, and what loads from it."""

    models_dir: Path = Field(Path("models"), description="model repository: <name>/<version>/model.onnx")
    models_poll_s: float = Field(
        5,
        ge=0,
        description="how often to check models_dir for new, changed and removed versions (s); 0 = never",
    )
    retained_models_dir: Path | None = Field(
        None,
        description="copies of versions with live sessions, for when models_dir no longer has them; "
        "default: retained-models in sessions_dir with LMDB, none with other stores",
    )
    provider: Literal["auto", "cpu", "cuda"] = Field("auto", description="ONNX Runtime execution provider")
    model_trial_s: float = Field(
        60,
        gt=0,
        description="maximum time of a new model's first load, in a child process (s); + 1 s for every 50 MB",
    )
    model_trial_bytes: int = Field(
        4 << 30,
        ge=1 << 28,
        description="maximum memory of that child process, besides 4 times the size of the model's files",
    )
    threads: int = Field(
        0, ge=0, le=256, description="ONNX Runtime threads for each worker; 0 = CPUs divided by workers"
    )
    share_cores: bool = Field(
        True,
        description="workers with one thread: also run calls on the core of another; see docs/performance.md",
    )


class Batching(Group):
    """The scheduler of each model."""

    max_batch: int = Field(64, ge=1, description="maximum sequences in one ONNX Runtime call")
    chunk_steps: int = Field(256, ge=1, description="maximum time steps of one sequence in one call")
    target_call_ms: float = Field(
        6, gt=0, description="target duration of one call (ms); batch and chunk sizes are chosen to meet it"
    )
    inline_call_ms: float = Field(
        2,
        ge=0,
        description="calls expected to take longer (ms) run in a thread and do not block the event loop",
    )
    max_waiting: int = Field(
        4096, ge=1, description="maximum queued sequences for each model and worker; above it: 503"
    )
    max_wait_ms: float = Field(
        2000,
        gt=0,
        description="maximum estimated queueing time for each model and worker (ms); above it: 503",
    )
