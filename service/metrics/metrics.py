"""Every metric of the service: its name, its labels, and what it means. Parts are handed what they count.

Names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/): base units, `_total`.
Labels have values that the server chooses: loaded models, routes, error codes. A client adds none.
"""

from service.metrics.registry import ROWS, STEPS, Registry

MODEL = ("model", "version")
SHADOW = (*MODEL, "shadow")


class Metrics:
    """The metrics of one worker, to be counted by its parts."""

    def __init__(self, registry: Registry) -> None:
        """`registry`: where the numbers are."""
        self.registry = registry
        self._name_requests(registry)
        self._name_streams(registry)
        self._name_calls(registry)
        self._name_sessions(registry)
        self._name_shadows(registry)
        self._name_models(registry)

    def _name_requests(self, registry: Registry) -> None:
        """Requests and connections."""
        gauge, histogram = registry.gauge, registry.histogram
        self.requests = histogram(
            "cellgate_request_duration_seconds",
            "Time from the last byte of a request's head to its response. code: of the error, or ok.",
            ("route", *MODEL, "status", "code"),
        )
        self.stages = histogram(
            "cellgate_stage_duration_seconds",
            "Time of an inference request in each stage: decode, queue, run, commit, encode.",
            ("stage", *MODEL),
        )
        self.connections = gauge("cellgate_connections", "Open connections.")
        self.requests_running = gauge("cellgate_requests_running", "Requests that are being answered.")
        self.request_memory = gauge(
            "cellgate_request_memory_bytes", "Memory reserved for requests in progress and their replies."
        )
        self.request_memory_limit = gauge(
            "cellgate_request_memory_limit_bytes", "The most memory that requests in progress may reserve."
        )

    def _name_streams(self, registry: Registry) -> None:
        """Streams; their connections and engine calls are counted as those of all requests."""
        counter, gauge = registry.counter, registry.gauge
        self.streams = gauge("cellgate_streams", "Open streams.")
        self.stream_frames = counter("cellgate_stream_frames", "Frames that streams have received.")
        self.stream_bytes = counter(
            "cellgate_stream_bytes", "Bytes of streams: read or written.", ("direction",)
        )

    def _name_calls(self, registry: Registry) -> None:
        """Engine calls and queues."""
        counter, gauge, histogram = registry.counter, registry.gauge, registry.histogram
        self.calls = histogram(
            "cellgate_engine_call_duration_seconds",
            "Time of one ONNX Runtime call. max_sequences: its sequences, rounded up to a power of 2.",
            (*MODEL, "max_sequences"),
        )
        self.call_sequences = histogram(
            "cellgate_engine_call_sequences", "Sequences in one ONNX Runtime call.", MODEL, bounds=ROWS
        )
        self.call_steps = histogram(
            "cellgate_engine_call_steps", "Longest chunk in one ONNX Runtime call.", MODEL, bounds=STEPS
        )
        self.steps = counter("cellgate_steps", "Time steps computed, without padding.", MODEL)
        self.padded_steps = counter(
            "cellgate_padded_steps", "Time steps of padding that were computed.", MODEL
        )
        self.last_call = gauge(
            "cellgate_last_call_timestamp_seconds",
            "Unix time of the last ONNX Runtime call.",
            MODEL,
            is_common=True,
        )
        self.queue_sequences = gauge("cellgate_queue_sequences", "Sequences that wait for a call.", MODEL)
        self.queue_seconds = gauge("cellgate_queue_seconds", "Time that the queued work will take.", MODEL)

    def _name_sessions(self, registry: Registry) -> None:
        """Sessions and their store."""
        counter, gauge, histogram = registry.counter, registry.gauge, registry.histogram
        self.sessions = gauge("cellgate_sessions", "Live sessions in the store.", is_common=True)
        self.session_bytes = gauge("cellgate_session_bytes", "Bytes of live sessions.", is_common=True)
        self.session_events = counter(
            "cellgate_session_events",
            "created; ended, also by DELETE; expired; evicted; conflict: `at` was not the session's step; "
            "replay: a stored reply was sent again; lost_race: run again, as another worker committed first.",
            ("event",),
        )
        self.store_seconds = histogram(
            "cellgate_store_duration_seconds", "Time of one operation of the session store.", ("operation",)
        )

    def _name_shadows(self, registry: Registry) -> None:
        """Shadow versions."""
        counter, gauge = registry.counter, registry.gauge
        self.shadow_steps = counter(
            "cellgate_shadow_steps", "Time steps whose outputs a shadow version was compared on.", SHADOW
        )
        self.shadow_values = counter("cellgate_shadow_values", "Numbers that were compared.", SHADOW)
        self.shadow_difference = counter(
            "cellgate_shadow_difference", "Sum of the absolute differences of these numbers.", SHADOW
        )
        self.shadow_max_difference = gauge(
            "cellgate_shadow_max_difference", "Largest absolute difference.", SHADOW, is_common=True
        )
        self.shadow_events = counter(
            "cellgate_shadow_events",
            "label_change: of a step; failure: of a request; dropped: a request that was not run, because "
            "too many waited or its fork had missed another; forked: a fork that began within a session.",
            (*SHADOW, "event"),
        )

    def _name_models(self, registry: Registry) -> None:
        """Models and workers."""
        counter, gauge = registry.counter, registry.gauge
        self.loads = counter(
            "cellgate_model_loads", "Loads of model versions: loaded or failed.", ("result",)
        )
        self.load_seconds = gauge(
            "cellgate_model_load_seconds", "Time of the last load of a version.", MODEL, is_common=True
        )
        self.model_info = gauge(
            "cellgate_model_info",
            "1 for each loaded version, with its fingerprint, provider and state.",
            (*MODEL, "fingerprint", "provider", "status"),
            is_common=True,
        )
        self.build_info = gauge(
            "cellgate_build_info",
            "1, with the versions of what runs.",
            ("version", "onnxruntime", "python"),
            is_common=True,
        )
        self.ready = gauge("cellgate_ready", "Workers that would answer a prediction now.")
        self.worker_deaths = counter(
            "cellgate_worker_deaths",
            "Workers that were replaced: died by themselves or by a signal; hung: killed by the watchdog.",
            ("cause",),
        )
        self.workers = gauge("cellgate_workers", "Workers that run.")
        self.policy_faults = gauge(
            "cellgate_policy_faults",
            "Models whose policy.json is faulty: their policy stays as it was.",
            is_common=True,
        )
        self.loop_stalls = counter(
            "cellgate_loop_stalls", "Turns of the event loop that took longer than allowed."
        )
        self.log_lines_dropped = counter(
            "cellgate_log_lines_dropped", "Log lines dropped because stderr was not read."
        )
        self.cpu_seconds = counter("process_cpu_seconds", "CPU time of all workers.")
        self.resident_bytes = gauge("process_resident_memory_bytes", "Resident memory of all workers.")
        self.open_files = gauge("process_open_fds", "Open file descriptors of all workers.")
