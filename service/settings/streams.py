"""What a stream, and the streams of a tenant, may take."""

from pydantic import Field

from service.settings.group import Group


class Streams(Group):
    """Limits and time-outs of `GET /stream`."""

    max_streams: int = Field(
        10_000, ge=1, description="maximum streams of one tenant, for each worker; above it: 429"
    )
    max_stream_channels: int = Field(
        256, ge=1, le=65536, description="maximum channels of one stream: sessions that share its socket"
    )
    max_stream_frame_bytes: int = Field(
        256 << 10, ge=1 << 10, description="maximum size of a message to a stream; above it: closed with 1009"
    )
    max_frames_in_flight: int = Field(
        16,
        ge=1,
        le=256,
        description="maximum frames of a session without a reply; their replies are stored with the session",
    )
    stream_idle_s: float = Field(
        3600, gt=0, description="time without a message after which a stream is closed (s)"
    )
    stream_ping_s: float = Field(
        20,
        ge=0,
        description="time without a byte after which a stream is pinged, and after as long again closed (s); "
        "0 = no pings",
    )
    stream_compression: bool = Field(
        False, description="offer permessage-deflate; it costs some 300 kB of memory for each stream"
    )
