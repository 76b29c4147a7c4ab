"""The use cases: predict, generate, forecast, infer, streams. Bytes of a request in, bytes of its reply out.

It knows the models, the session rules and the codec, and combines them. It knows nothing of HTTP or ONNX
Runtime.
"""

from service.predict.aside import LARGE_BODY, Aside
from service.predict.beginning import Beginnings
from service.predict.channel import Channel, Socket
from service.predict.events import PredictionEvents, TextEvents
from service.predict.forecast import Forecaster
from service.predict.generate import Generator
from service.predict.idempotency import Idempotency
from service.predict.infer import OpenInference
from service.predict.predictor import Predictor
from service.predict.progress import Emit, Event
from service.predict.request import Reply
from service.predict.shadow import Shadows
from service.predict.stream import Streams

__all__ = [
    "LARGE_BODY",
    "Aside",
    "Beginnings",
    "Channel",
    "Emit",
    "Event",
    "Forecaster",
    "Generator",
    "Idempotency",
    "OpenInference",
    "PredictionEvents",
    "Predictor",
    "Reply",
    "Shadows",
    "Socket",
    "Streams",
    "TextEvents",
]
