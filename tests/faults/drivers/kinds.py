"""The drivers by name."""

from collections.abc import Callable, Mapping

from tests.faults.drivers.base import Driver, Network, Record
from tests.faults.drivers.client import ClientDriver
from tests.faults.drivers.client_stream import ClientStreamDriver
from tests.faults.drivers.http import HttpDriver
from tests.faults.drivers.rewinds import RewindDriver
from tests.faults.drivers.stream import StreamDriver
from tests.faults.drivers.tokens import TokenDriver
from tests.faults.history import DriverName, History

_DRIVERS: Mapping[DriverName, Callable[[History, Network, Record], Driver]] = {
    DriverName.HTTP: HttpDriver,
    DriverName.CLIENT: ClientDriver,
    DriverName.STREAM: StreamDriver,
    DriverName.CLIENT_STREAM: ClientStreamDriver,
    DriverName.TOKENS: TokenDriver,
    DriverName.REWINDS: RewindDriver,
}


def create(history: History, network: Network, record: Record) -> Driver:
    """The driver of a history."""
    return _DRIVERS[history.driver](history, network, record)
