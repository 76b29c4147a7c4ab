"""One channel of a stream: a session that is driven frame by frame. Values; `frame_runner` moves them."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Protocol

from service.codec.frames import BinaryForm, Frame, Opening, number_type
from service.errors import CellgateError
from service.manifest import OutputSpec
from service.predict.beginning import Beginning
from service.repository import Model
from service.sequence import Sequence
from service.sessions import Checkpoint, Opened, Record

# What has its place among the frames of a channel: a frame; one that is refused, so that answers keep their
# order; or what is called once all before it are answered.
Waiting = Frame | CellgateError | Callable[[], None]


WriteToken = Callable[[Model, int, bytes], str]  # of a model's packed state at a step


class Socket(Protocol):
    """The stream that a channel belongs to, as its frames need it."""

    def put(self, message: bytes, *, is_text: bool) -> None:
        """Send a message with the next `flush`."""
        ...

    def flush(self) -> None:
        """Send what was put, in one write, and continue reading if a channel had no room."""
        ...


class Channel:
    """The state of a channel. Idle, it holds no array and no state of its session."""

    __slots__ = (
        "beginning",
        "begins_anew",
        "computed",
        "extra",
        "form",
        "has_conflict",
        "held",
        "is_busy",
        "is_closed",
        "is_pinned",
        "keep_all",
        "key",
        "max_in_flight",
        "max_joined",
        "max_reply_steps",
        "model",
        "num_alone",
        "num_bytes",
        "number",
        "output_names",
        "outputs",
        "record",
        "returned",
        "rewinds",
        "running",
        "session",
        "socket",
        "step",
        "tenant",
        "waiting",
        "write_token",
    )

    def __init__(self, opening: Opening, socket: Socket, key: bytes, model: Model, tenant: str) -> None:
        self.number = opening.channel
        self.session = opening.session
        self.socket = socket
        self.key = key  # of the session in the store
        self.model = model  # that frames are decoded for
        self.tenant = tenant
        self.is_pinned = False  # whether the opening names the version's number
        self.keep_all = False
        self.form: BinaryForm | None = None  # of binary frames
        self.outputs: tuple[int, ...] = (0,)  # of the model, in the order of a reply
        self.computed: tuple[int, ...] = (0,)  # the same, and behind them the gates of a reply
        self.extra: tuple[int, ...] = ()  # those beside the first
        self.output_names = opening.outputs
        self.returned = opening.returned
        self.max_in_flight = 1
        self.max_joined = 1  # frames in one chunk
        self.max_reply_steps: int | None = None  # of one frame, where a reply grows with them
        self.begins_anew = False  # the first frame replaces what remains of an ended session
        self.beginning: Beginning | None = None  # the state that the session's first frame begins from
        self.write_token: WriteToken | None = None  # of the state after each frame, where replies have it
        self.rewinds = 0  # how often the session was rewound before the channel was opened
        self.step = 0  # after the last commit that this channel has seen
        self.waiting: list[Waiting] | None = None  # frames that do not run yet; None: no frame at all
        self.record: Record | None = None  # as last committed, for a moment
        self.held: list[bytes] = []  # the replies in `record`, packed
        self.running: Run | None = None  # in the worker
        self.num_alone = 0  # frames that are not joined with others: one of them may be at fault
        self.num_bytes = 0  # of the frames that are not answered yet, as counted in the budget
        self.is_busy = False
        self.is_closed = False  # no client waits for replies
        self.has_conflict = False  # a frame's `at` was wrong; those behind it are refused

    @property
    def specs(self) -> list[OutputSpec]:
        """The outputs of a reply, in its order."""
        return [self.model.manifest.outputs[index] for index in self.outputs]

    def describe(self) -> dict[str, Any]:
        """What the answer to its opening says of it."""
        manifest, index = self.model.manifest, self.outputs[0]
        steps = "all" if self.keep_all else "last"
        output = manifest.outputs[index]
        described = {
            "channel": self.number,
            "model": self.model.name,
            "version": self.model.version,
            "session": self.session,
            "step": self.step,
            "rewinds": self.rewinds,
            "return": steps if self.returned is None else self.returned.words(steps),
            "encoding": "json" if self.form is None else "binary",
            "output": {"width": math.prod(output.dims), "dtype": self.model.output_dtypes[index]},
        }
        if len(manifest.inputs) == 1:
            described |= {"width": manifest.inputs[0].width, "dtype": number_type(manifest.inputs[0])}
        return described

    def forget_answered(self) -> int:
        """How many bytes of its frames are answered, and count no longer."""
        waiting = self.waiting
        left = sum([each.num_bytes for each in waiting if isinstance(each, Frame)]) if waiting else 0
        answered, self.num_bytes = self.num_bytes - left, left
        return answered

    @property
    def has_room(self) -> bool:
        """Whether another frame may be read.

        One more than the client may have in flight: a client that keeps to that is never paused. Each
        pause takes two system calls.
        """
        return self.waiting is None or len(self.waiting) <= self.max_in_flight


class Run:
    """Frames of one channel that are computed as one chunk and committed together."""

    __slots__ = (
        "channel",
        "frames",
        "held",
        "model",
        "opened",
        "passed",
        "record",
        "replies",
        "sequence",
        "task",
    )

    def __init__(self, channel: Channel, frames: list[Frame], model: Model, opened: Opened) -> None:
        self.channel = channel
        self.frames = frames
        self.model = model
        self.opened = opened
        self.sequence: Sequence
        self.task: asyncio.Task[None] | None = None  # that computes it, where states within it are kept
        self.passed: list[Checkpoint] = []  # these states
        self.record: Record  # to be committed
        self.replies: list[bytes] = []  # to each frame
        self.held: list[bytes] = []  # the replies in `record`, packed
