"""Loads a version from a snapshot of its folder, once a trial has passed.

It makes sure that what is loaded, what was tried and what the fingerprint covers are the same bytes.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from service import cpus
from service.engine.graph import Optimization
from service.errors import StartupError
from service.metrics import Loads
from service.repository.folders import read_manifest
from service.repository.load import Loader, PreparedModel
from service.repository.model import Model
from service.repository.retained import RetainedCopies
from service.repository.snapshot import Snapshot, digest, signature
from service.repository.trial import Trials

ATTEMPTS = 3  # to load a folder that changes meanwhile


class VersionLoader(Protocol):
    """How version folders are loaded: `SafeLoader`, or the `Loader` itself."""

    def load(self, folder: Path) -> Model:
        """Load a version folder and serve it on the running event loop. Raises StartupError or OSError."""
        ...

    def prepare(self, folder: Path) -> PreparedModel:
        """Load a version folder; may run in a thread. Raises StartupError or OSError."""
        ...

    def start(self, prepared: PreparedModel) -> Model:
        """Serve a prepared version on the running event loop."""
        ...


@dataclass(slots=True, frozen=True)
class SafeLoader:
    """A loader that tries what is new in a child process, and whose failures are all StartupError."""

    loader: Loader
    trials: Trials
    copies: RetainedCopies | None = None  # of versions that keep states
    loads: Loads | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)  # one is loaded at a time: loads are timed

    def load(self, folder: Path) -> Model:
        """Load a version folder and serve it on the running event loop. Raises StartupError."""
        return self.start(self.prepare(folder))

    def start(self, prepared: PreparedModel) -> Model:
        """Serve a prepared version on the running event loop."""
        model = self.loader.start(prepared)
        if self.loads is not None:
            self.loads.add(model.name, model.version, prepared.seconds)
        return model

    def prepare(self, folder: Path) -> PreparedModel:
        """Try a version folder, and load it; may run in a thread.

        Raises StartupError for any failure; TrialFailure if the version would harm the server.
        """
        try:
            return self._prepare_unchanged(folder)
        except StartupError:
            if self.loads is not None:
                with self.lock:
                    self.loads.add_failed()
            raise

    def _prepare_unchanged(self, folder: Path) -> PreparedModel:
        with _only_startup_errors(folder):
            for _ in range(ATTEMPTS):
                before = signature(folder)
                try:
                    prepared = self._prepare(folder)
                except StartupError:
                    if signature(folder) == before:
                        raise
                    continue
                if signature(folder) == before:
                    return prepared
            raise StartupError(f"{folder}: its files change while it is being loaded")

    def _prepare(self, folder: Path) -> PreparedModel:
        read_manifest(folder)  # its faults come first: they are the likeliest
        snapshot = Snapshot.read(folder)
        optimization = self.trials.optimization(folder, snapshot.digest)
        with self.lock:
            started = time.perf_counter()
            prepared = prepare_snapshot(self.loader, snapshot, optimization)
            prepared = replace(prepared, seconds=time.perf_counter() - started)
        if self.copies is not None and prepared.manifest.states:
            self.copies.keep(snapshot, prepared.binding)
        return prepared

    def try_all(self, folders: Sequence[Path]) -> None:
        """Start to try several versions at once, in threads; `prepare` raises what a trial found."""
        if len(folders) < 2:
            return
        pool = ThreadPoolExecutor(cpus.usable(), thread_name_prefix="trial")
        for folder in folders:
            pool.submit(self._try, folder)
        pool.shutdown(wait=False)

    def _try(self, folder: Path) -> None:
        with contextlib.suppress(StartupError):
            self.trials.optimization(folder, digest(folder))


def prepare_snapshot(loader: Loader, snapshot: Snapshot, optimization: Optimization) -> PreparedModel:
    """Load a version at an optimization level, without a trial. Raises StartupError for any failure."""
    folder = snapshot.folder
    opening = functools.partial(loader.open_engine, content=snapshot.content, optimization=optimization)
    with _only_startup_errors(folder):
        prepared = replace(loader, open_engine=opening).prepare(
            folder, snapshot.fingerprint, snapshot.states, snapshot.content
        )
    return replace(prepared, optimization=optimization)


@contextlib.contextmanager
def _only_startup_errors(folder: Path) -> Iterator[None]:
    """Any other exception becomes a StartupError: one version's fault is no other version's."""
    try:
        yield
    except StartupError:
        raise
    except Exception as error:
        raise StartupError(f"{folder}: it cannot be loaded: {type(error).__name__}: {error}") from error
