"""Describes an exported network to the service: `model.json`."""

from collections.abc import Sequence
from datetime import UTC, datetime

from service.manifest import (
    Axes,
    EstimateSpec,
    ForecastSpec,
    GatesSpec,
    InputSpec,
    Manifest,
    OutputSpec,
    Provenance,
    StateSpec,
)
from training.cells.cell import Gates, state_out
from training.data.dataset import DataSet, Input
from training.export.example import example
from training.export.network import LENGTHS, LOGITS, OUTPUT, gates_output
from training.export.parity import Parity
from training.model import Network
from training.versions import package_versions


def describe(
    network: Network,
    data: DataSet,
    *,
    metrics: dict[str, float],
    parity: Parity,
    command: str,
    seed: int,
    gates: Sequence[Gates] = (),
) -> Manifest:
    """The manifest of a network's graph. `gates`: that it has as outputs."""
    cell = network.cell
    return Manifest(
        description=f"{data.title}: {type(cell).__name__}, {cell.layers} x {cell.hidden}",
        task=data.task,
        causal=cell.causal,
        pool=network.pool.name if data.is_whole else None,
        inputs=tuple(map(_input, data.inputs)),
        lengths=LENGTHS,
        axes=Axes(batch=0, time=1),
        states=tuple(
            StateSpec(
                input=name,
                output=state_out(name),
                shape=(layers, "batch", width),
                dtype="float64" if name in network.pool.states else "float32",
            )
            for name, (layers, width) in network.states.items()
        ),
        outputs=(*_outputs(network, data), *map(_gates, gates)),
        example=example(network, data),
        table=data.table,
        metrics=metrics,
        provenance=Provenance(
            data_set=data.title,
            citation=data.citation,
            license=data.license,
            command=command,
            seed=seed,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=package_versions(),
            parity=parity.differences,
            parity_check=parity.check,
        ),
    )


def _input(input_: Input) -> InputSpec:
    if input_.kind == "token":
        return InputSpec(
            name=input_.name,
            tensor=input_.tensor,
            per=input_.per,
            kind="token",
            dtype="int64",
            vocabulary=input_.vocabulary,
            tokenizer=input_.tokenizer,
            unknown=input_.unknown,
            missing_token=input_.missing,
            numbers=input_.numbers,
        )
    return InputSpec(
        name=input_.name,
        tensor=input_.tensor,
        per=input_.per,
        kind=input_.kind,
        dims=input_.frame if input_.kind == "video" else (input_.columns,),
        sample_rate=input_.sample_rate,
        features=input_.features,
        units=input_.units,
        missing="nan" if input_.has_gaps else "error",
    )


def _gates(gates: Gates) -> OutputSpec:
    return OutputSpec(
        name=gates_output(gates),
        kind="gates",
        dims=(len(gates.names) * gates.units,),
        gates=GatesSpec(names=gates.names, layer=gates.layer, direction=gates.direction),
    )


def _outputs(network: Network, data: DataSet) -> tuple[OutputSpec, ...]:
    forecast = data.forecast
    if data.task == "regress":
        estimates = tuple(
            EstimateSpec(target=label, quantile=quantile)
            for label in data.labels
            for quantile in data.quantiles or (None,)
        )
        names = tuple(f"{one.target} q{one.quantile:g}" if one.quantile else one.target for one in estimates)
        return (
            OutputSpec(name=OUTPUT, kind="values", dims=(len(names),), labels=names, estimates=estimates),
        )
    if forecast is None:
        classes = (len(data.labels),)
        chosen = () if network.thresholds is None else tuple(network.thresholds.tolist())
        return (
            OutputSpec(
                name=OUTPUT,
                kind="probabilities" if network.thresholds is None else "labels",
                dims=classes,
                labels=data.labels,
                thresholds=chosen if set(chosen) != {0.5} else (),
            ),
            OutputSpec(name=LOGITS, kind="logits", dims=classes),
        )
    labels = tuple(
        f"{series} {horizon} q{quantile:g}"
        for series in data.labels
        for horizon in forecast.names
        for quantile in forecast.quantiles
    )
    forecasts = tuple(
        ForecastSpec(feature=data.inputs[0].features[column], steps=steps, quantile=quantile)
        for column in forecast.columns
        for steps in forecast.horizons
        for quantile in forecast.quantiles
    )
    return (OutputSpec(name=OUTPUT, kind="values", dims=(len(labels),), labels=labels, forecasts=forecasts),)
