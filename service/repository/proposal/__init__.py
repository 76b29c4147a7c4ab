"""How a manifest is proposed for a graph of unknown origin.

    subjects   sizes with which the graph runs, constants, row lengths
    states     which output is the new value of which input: edges, names, then cuts
    axes       which axis is time, which is batch
    cuts       whole against pieces: whether a sequence may be cut
    inputs, outputs, example, draft            the parts of the document

It knows graphs, bare ONNX Runtime and manifests. It knows neither the server's engine nor its batches.
"""
