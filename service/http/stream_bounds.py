"""What a stream may use: a value, from the settings."""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class StreamBounds:
    """What a stream may use."""

    max_channels: int
    max_frame_bytes: int
    idle_s: float
    ping_s: float  # 0: no pings
