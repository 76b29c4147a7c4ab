"""The quantile layer: never crossing, persistence at the start, and the same in the graph."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.data.dataset import Forecast
from training.export.quantiles import write_quantiles
from training.graph import Graph
from training.quantiles import Estimates, Quantiles, middle_of

LAYER = Quantiles(Forecast(columns=(1, 0), horizons=(1, 6), names=("+1", "+6")))
LAYER.reach.copy_(torch.tensor([1.0, 2.0, 0.5, 3.0]))


def test_quantiles_never_cross_and_an_untrained_network_forecasts_persistence() -> None:
    data = data_of("forecast")
    network = network_for(data)
    torch.nn.init.zeros_(network.head.weight)
    x = torch.from_numpy(data.test.sequences[0])[None]
    with torch.inference_mode():
        y, _ = network(x, torch.tensor([x.shape[1]]), network.initial_state(1))
    last = network.input_layer(x, torch.tensor([x.shape[1]]), network.initial_state(1)).level[0, :, 0]
    quantiles = y[0].reshape(-1, 2, 3)
    assert (quantiles.diff(dim=-1) > 0).all()
    torch.testing.assert_close(quantiles[..., 1], last[:, None].expand(-1, 2), atol=1e-2, rtol=0)


@given(st.integers(0, 999), st.floats(0.1, 30))
def test_quantiles_are_in_order_for_any_output_of_the_dense_layer(seed: int, size: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    y = size * torch.randn(2, 5, 12, generator=rng)
    level = torch.randn(2, 5, 2, generator=rng)
    quantiles = LAYER.by_quantile(LAYER(y, level))
    assert quantiles.shape == (2, 5, 4, 3)
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_each_series_starts_from_its_own_column_and_is_scaled_by_its_reach() -> None:
    level = torch.tensor([[[10.0, 20.0]]])
    y = torch.zeros(1, 1, 12)
    quantiles = LAYER.by_quantile(LAYER(y, level))[0, 0]
    softplus = float(torch.log(torch.tensor(2.0)))
    assert LAYER.columns == [1, 1, 0, 0]
    torch.testing.assert_close(quantiles[:, 0], torch.tensor([20.0, 20, 10, 10]))
    torch.testing.assert_close(quantiles[:, 1] - quantiles[:, 0], softplus * LAYER.reach)


def test_the_bias_of_persistence_is_one_reach_around_the_last_value() -> None:
    bias = torch.nn.Parameter(torch.zeros(12))
    LAYER.center(bias)
    quantiles = LAYER.by_quantile(LAYER(bias.detach()[None, None], torch.zeros(1, 1, 2)))[0, 0]
    torch.testing.assert_close(quantiles[:, 1], torch.zeros(4), atol=0.01, rtol=0)
    torch.testing.assert_close(quantiles[:, 2], LAYER.reach, atol=0.02, rtol=0)


def session_of(layer: Quantiles) -> ort.InferenceSession:
    graph = Graph("quantiles")
    width = layer.numbers * layer.count
    y = graph.input("x", ["time", "batch", width])
    level = graph.input("level", ["time", "batch", 2])
    graph.output(
        write_quantiles(graph, layer, y, level, "out"), ["time", "batch", width], kind=TensorProto.FLOAT
    )
    return ort.InferenceSession(graph.build().SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    return session_of(LAYER)


@pytest.mark.parametrize("quantiles", [(), (0.9,), (0.1, 0.9), (0.1, 0.3, 0.5, 0.9)])
@pytest.mark.parametrize("is_forecast", [True, False])
def test_any_number_of_quantiles_is_centred_on_the_base_and_computed_by_the_graph(
    quantiles: tuple[float, ...], is_forecast: bool
) -> None:
    layer: Quantiles = Estimates(2, quantiles)
    base = torch.tensor([5.0, -7])
    if is_forecast and quantiles:
        layer = Quantiles(Forecast(columns=(0, 1), horizons=(1,), names=("+1",), quantiles=quantiles))
    elif isinstance(layer, Estimates):
        layer.mean.copy_(base)
    layer.reach.copy_(torch.tensor([2.0, 3]))
    layer.margin.fill_(0.5 if layer.count > 1 else 0)
    bias = torch.nn.Parameter(torch.zeros(2 * layer.count))
    layer.center(bias)
    level = base.expand(1, 1, 2)
    start = layer.by_quantile(layer(bias.detach()[None, None], level))[0, 0] - layer.widening
    torch.testing.assert_close(start[:, layer.middle], base, atol=0.02, rtol=0)
    y = np.random.default_rng(0).standard_normal((3, 1, 2 * layer.count)).astype(np.float32)
    [computed] = session_of(layer).run(None, {"x": y, "level": level.expand(3, 1, 2).numpy()})
    expected = layer(torch.from_numpy(y), level).numpy()
    np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-5)


def test_the_middle_quantile_is_the_one_next_to_a_half() -> None:
    assert [middle_of(one) for one in ((), (0.9,), (0.1, 0.9), (0.1, 0.45, 0.9))] == [0, 0, 0, 1]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_the_graph_computes_the_layer_with_equal_bits_for_any_number_of_steps(
    session: ort.InferenceSession, steps: int, batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = 5 * rng.standard_normal((steps, batch, 12)).astype(np.float32)
    level = rng.standard_normal((steps, batch, 2)).astype(np.float32)
    [whole] = session.run(None, {"x": y, "level": level})
    expected = LAYER(torch.from_numpy(y), torch.from_numpy(level)).numpy()
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-5)
    for step in range(steps):
        [alone] = session.run(None, {"x": y[step : step + 1], "level": level[step : step + 1]})
        assert np.array_equal(alone[0], whole[step])
