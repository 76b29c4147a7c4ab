"""A server in the memory of your tests: `Client(transport=FakeServer({"vowels": FakeModel(function)}))`.

It knows the rules of sessions and the form of replies; it knows no socket. Your function is the model.
"""

from cellgate.testing.fake_model import FakeModel
from cellgate.testing.fake_server import FakeServer
from cellgate.testing.faults import Fault

__all__ = ["FakeModel", "FakeServer", "Fault"]
