"""The samples of bodies and replies on /docs. Plain values, which `openapi` adds to the schemas."""

from typing import Any

# Two steps for the model in `models/vowels`: twelve numbers each.
STEPS = [
    [1.86, -0.21, 0.26, -0.21, -0.17, -0.12, -0.28, 0.03, 0.13, -0.31, -0.21, 0.09],
    [1.89, -0.19, 0.24, -0.25, -0.11, -0.11, -0.31, -0.03, 0.17, -0.29, -0.18, 0.05],
]
PROBABILITIES = [0.0001, 0.0002, 0.9982, 0.0003, 0.0001, 0.0002, 0.0004, 0.0003, 0.0002]
LOGITS = [-3.2, -2.5, 6.0, -2.1, -3.2, -2.5, -1.8, -2.1, -2.5]

STATE_TOKEN = "AQA5eU8b0wJkVt4mZ1xq"  # real ones have a character for each 6 bits of state

_MODEL: dict[str, Any] = {
    "name": "vowels",
    "version": "1",
    "description": "UCI Japanese Vowels: LSTM, 1 x 128",
    "task": "classify",
    "inputs": [{"name": "x", "kind": "numeric", "dtype": "float32", "dims": [12], "missing": "error"}],
    "outputs": [
        {"name": "y", "kind": "probabilities", "dtype": "float32", "dims": [9], "labels": [*"123456789"]},
        {"name": "logits", "kind": "logits", "dtype": "float32", "dims": [9]},
    ],
    "sessions": True,
    "default": True,
    "aliases": ["production"],
    "canary_weight": None,
    "shadow": None,
    "policy_fault": None,
    "retiring": False,
    "provider": "CPUExecutionProvider",
    "exact": True,
    "max_difference": 0.0,
    "fingerprint": "9d4c1f0a7be25836",
    "optimization": "all",
    "states": ["warm"],
    "batching": {"calls": 1200, "sequences_per_call": 6.4, "steps": 153_600, "padding": 0.021, "waiting": 0},
    "metrics": {"test_accuracy": 0.9622},
    "example": {"steps": STEPS, "output": PROBABILITIES, "label": "3"},
    "provenance": {"data_set": "UCI Japanese Vowels", "license": "CC BY 4.0", "seed": 0},
}
_SESSION: dict[str, Any] = {
    "session": "call-42",
    "model": "vowels",
    "version": "1",
    "step": 145,
    "created": "2026-03-02T08:30:00.000+00:00",
    "idle_s": 4.2,
    "expires_in_s": 3595.8,
    "state_bytes": 1024,
    "rewinds": 0,
    "history": {"last": 10, "every": 10, "checkpoints": [120, 130, 140], "bytes": 3072},
}
_X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [-1, -1, 12]}
_OUTPUTS: list[dict[str, Any]] = [
    {"name": "y", "datatype": "FP32", "shape": [-1, -1, 9], "labels": [*"123456789"]},
    {"name": "logits", "datatype": "FP32", "shape": [-1, -1, 9]},
]
_POLICY: dict[str, Any] = {"default": "production", "aliases": {"production": "1"}}
_DURATION = {"count": 1200, "ns": 480_000_000}
_STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")

BY_SCHEMA: dict[str, dict[str, Any]] = {
    "PredictReply": {
        "model": "vowels",
        "version": "1",
        "predictions": [
            {"output": PROBABILITIES, "label": "3", "probability": 0.9982},
            {"output": PROBABILITIES, "label": "3", "probability": 0.9982, "session": "call-42", "step": 2},
            {"outputs": {"y": PROBABILITIES, "logits": LOGITS}, "label": "3", "probability": 0.9982},
            {"output": PROBABILITIES, "label": "3", "probability": 0.9982, "step": 4, "state": STATE_TOKEN},
            {"output": [0.0213, 0.9171], "labels": [{"label": "rain", "probability": 0.9171}]},
            {
                "states": {"h": [[0.1249, -0.3172]]},
                "gates": [
                    {"layer": 0, "direction": "forward", "gate": "in_gate", "values": [0.0731, 0.9812]}
                ],
            },
        ],
    },
    "ForecastBody": {"horizon": 2, "inputs": STEPS},
    "ForecastReply": {
        "model": "vowels",
        "version": "1",
        "session": "call-42",
        "step": 145,
        "forecasts": [
            {
                "output": [PROBABILITIES, PROBABILITIES],
                "label": ["3", "3"],
                "probability": [0.9982, 0.9982],
            }
        ],
    },
    "GenerateReply": {
        "model": "letters",
        "version": "1",
        "ids": [65, 61, 54, 1],
        "tokens": [*"the "],
        "text": "the ",
        "seed": 1,
        "session": "story-1",
        "step": 12,
    },
    "Problem": {
        "type": "about:blank",
        "title": "Wrong shape",
        "status": 422,
        "code": "wrong_shape",
        "detail": "expected 12 numbers, got 11",
        "pointer": "/sequences/0/steps/7",
    },
    "ModelReply": _MODEL,
    "ModelsReply": {"models": [_MODEL]},
    "CreateSessionBody": {
        "model": "vowels",
        "version": "1",
        "ttl_s": 600,
        "history": {"last": 10, "every": 10},
    },
    "ForkSessionBody": {"to": "call-42-what-if", "at": 140, "ttl_s": 600},
    "RewindSessionBody": {"step": 140, "at": 145, "rewinds": 0},
    "MigrateSessionBody": {"version": "1"},
    "PatchSessionBody": {"ttl_s": 600, "history": {"last": 10, "every": 10}},
    "SessionReply": _SESSION,
    "SessionsReply": {"sessions": [_SESSION], "next": "call-42"},
    "Policy": _POLICY,
    "PolicyReply": {
        "policy": _POLICY,
        "default": "1",
        "aliases": {"production": "1"},
        "in_effect": True,
        "waiting": [],
        "fault": None,
    },
    "PromoteBody": {"version": "1", "migrate": False},
    "RollbackBody": {"migrate": False},
    "PromotionReply": {
        "model": "vowels",
        "default": "2",
        "previous": "1",
        "in_effect": True,
        "sessions": {"moved": 120, "kept": 3},
    },
    "HealthReply": {"status": "ok"},
    "V2Error": {"error": "no model 'vowel'; there are vowels", "code": "unknown_model"},
    "ServerMetadata": {
        "name": "cellgate",
        "version": "0.1.0",
        "extensions": [
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "model_repository",
            "sequence",
            "sequence(string_id)",
            "statistics",
        ],
    },
    "ModelMetadata": {
        "name": "vowels",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [_X],
        "outputs": _OUTPUTS,
        "properties": {"task": "classify"},
    },
    "StatisticsReply": {
        "model_stats": [
            {
                "name": "vowels",
                "version": "1",
                "last_inference": 1_772_440_200_000,
                "inference_count": 7680,
                "execution_count": 1200,
                "inference_stats": dict.fromkeys(_STAGES, _DURATION) | {"fail": {"count": 0, "ns": 0}},
                "batch_stats": [{"batch_size": 8, "compute_infer": _DURATION}],
            }
        ]
    },
    "ModelReady": {"name": "vowels", "ready": True},
    "InferReply": {
        "model_name": "vowels",
        "model_version": "1",
        "parameters": {"sequence_id": "call-42", "step": 1},
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 1, 9], "data": PROBABILITIES},
            {"name": "logits", "datatype": "FP32", "shape": [1, 1, 9], "data": LOGITS},
        ],
    },
}
_CONFIG: dict[str, Any] = {
    "name": "vowels",
    "platform": "onnx_onnxv1",
    "backend": "onnxruntime",
    "max_batch_size": 1024,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 12]}],
    "output": [{"name": name, "data_type": "TYPE_FP32", "dims": [-1, 9]} for name in ("y", "logits")],
    "sequence_batching": {},
}
# "Try it out" sends these: the model is the committed one, the session that of README.md.
PATH_PARAMETERS = {"name": "vowels", "version": "1", "session": "call-42"}
BY_PATH: dict[str, Any] = {
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/repository/index": [{"name": "vowels", "version": "1", "state": "READY", "reason": ""}],
    "/v2/models/{name}/config": _CONFIG,
    "/v2/models/{name}/versions/{version}/config": _CONFIG,
}
