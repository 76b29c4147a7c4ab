"""The models of a server: all are loaded at its start, and their directory is followed from then on."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from service.background import repeat
from service.metrics import Loads, Metrics
from service.parts import batching_of, hardware_of, retained_copies_of, trials_of
from service.repository import (
    Loader,
    Policies,
    Reloader,
    Repository,
    Retirement,
    Rollout,
    SafeLoader,
    Steering,
    Stopping,
    scan,
)
from service.sessions import Sessions
from service.settings import Settings

logger = logging.getLogger(__name__)

ROLLOUT_EVERY_S = 0.2
MAX_RETIRE_EVERY_S = 60.0


def create_loader(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    shared: Path | None,
    metrics: Metrics,
    on_failure: Callable[[], None] | None,
) -> SafeLoader:
    """What loads models, each tried before in a child process; closed with `stack`."""
    loader = SafeLoader(
        Loader(batching_of(settings), hardware_of(settings, shared), on_failure=on_failure, metrics=metrics),
        trials_of(settings, shared),
        retained_copies_of(settings),
        loads=Loads(metrics),
    )
    stack.callback(loader.trials.close)
    return loader


async def serve_models(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    shared: Path | None,
    sessions: Sessions,
    loader: SafeLoader,
) -> tuple[Repository, Steering]:
    """Load all models, and follow their directory from then on. Raises StartupError."""
    policies = Policies(settings.models_dir)
    policies.read()
    unloaded = policies.unloaded()
    on_disk = scan(settings.models_dir, unloaded)  # before they are loaded, so that a later change is noticed
    loader.try_all(list(on_disk))
    repository = Repository.load(settings.models_dir, loader, skips_faulty=True, unloaded=unloaded)
    stack.push_async_callback(repository.stop)
    stop = Stopping(grace_s=settings.request_timeout_s)
    retirement = Retirement(
        repository,
        loader,
        loader.copies,
        sessions.find_on,
        retire_s=settings.session_ttl_s,
        stop=stop,
        unloaded=policies.unloaded,
    )
    await retirement.load_retained()
    rollout = Rollout(repository, policies, shared or Path(stack.enter_context(TemporaryDirectory())))
    reloader = Reloader(
        repository,
        settings.models_dir,
        loader,
        loaded=on_disk,
        stop=stop,
        policies=policies,
        announce=rollout.join,
        every_s=settings.models_poll_s,
    )
    follow_every_s = min(settings.models_poll_s or ROLLOUT_EVERY_S, ROLLOUT_EVERY_S)
    repeat(stack, follow_every_s, reloader.follow, "the models directory is not followed")
    retire_every_s = min(settings.session_ttl_s / 4, MAX_RETIRE_EVERY_S)
    repeat(stack, retire_every_s, retirement.check, "retired versions are not unloaded")
    await rollout.join()
    repeat(stack, ROLLOUT_EVERY_S, rollout.follow, "default versions are not agreed on")
    steering = Steering(
        settings.models_dir, repository, policies, rollout, timeout_s=settings.request_timeout_s
    )
    return repository, steering
