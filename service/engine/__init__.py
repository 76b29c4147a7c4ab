"""Turns queued sequences into ONNX Runtime calls: which chunks share a call, and where the call runs.

It knows sequences, states as arrays, the cost of calls, threads, cores and devices. It does not know HTTP,
JSON, the rules of sessions, or where models lie on disk. The scheduler and the cost model are pure; asyncio
and threads are in the worker; CPU cores are behind the runner; ONNX Runtime and CUDA are behind the engine.
"""

from service.engine.batching import Batching, max_batch_for, scheduler_for
from service.engine.content import GraphContent
from service.engine.cost import Cost, TwoCosts
from service.engine.graph import CPU, CUDA, Optimization, Provider, choose_provider, dtype_of, load_session
from service.engine.onnx import OnnxEngine
from service.engine.paired import PairedEngine, Trial
from service.engine.runner import Outcome, Runner, SharedCoresRunner, SingleCoreRunner, run_timed
from service.engine.scheduler import Scheduler
from service.engine.shared_cores import NUM_SHARED, Cores, WorkerSlot
from service.engine.whole import WholeSequences
from service.engine.worker import Worker

__all__ = [
    "CPU",
    "CUDA",
    "NUM_SHARED",
    "Batching",
    "Cores",
    "Cost",
    "GraphContent",
    "OnnxEngine",
    "Optimization",
    "Outcome",
    "PairedEngine",
    "Provider",
    "Runner",
    "Scheduler",
    "SharedCoresRunner",
    "SingleCoreRunner",
    "Trial",
    "TwoCosts",
    "WholeSequences",
    "Worker",
    "WorkerSlot",
    "choose_provider",
    "dtype_of",
    "load_session",
    "max_batch_for",
    "run_timed",
    "scheduler_for",
]
