"""A conformance suite of the Open Inference Protocol (REST), for any server.

    python -m tests.conformance --url http://127.0.0.1:8000 [--model M] [--key KEY]

It knows HTTP and the protocol's text; it knows nothing of Cellgate. Points are numbered C (core), S (sequence
extension), B (binary tensors) and E (further extensions). An extension is checked if `GET /v2` lists it.
"""
