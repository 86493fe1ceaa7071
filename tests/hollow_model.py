"""A .tflite that looks like a language model from outside and has nothing inside: for what only looks at the outside."""

from __future__ import annotations

import ai_edge_litert.schema_py_generated as schema
import flatbuffers


def tflite_model(cache: int = 64, rows: int = 512) -> bytes:
    """The outside of a language model: signatures with their shapes, one weight, no operators."""
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = [1] * 256
    model.version, model.description, model.subgraphs, model.operatorCodes = 3, "made by a test", [graph], []

    def tensor(shape: list[int], kind: int, buffer: int = 0) -> int:
        made = schema.TensorT()
        made.shape, made.type, made.buffer, made.name = shape, kind, buffer, "t"
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def named(**tensors: int) -> list[schema.TensorMapT]:
        maps = []
        for name, index in tensors.items():
            one = schema.TensorMapT()
            one.name, one.tensorIndex = name, index
            maps.append(one)
        return maps

    tensor([256], schema.TensorType.INT8, buffer=1)
    model.signatureDefs = []
    for name, length in (("prefill_16", 16), ("decode", 1)):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = name, 0
        mask = tensor([1, 1, length, cache], schema.TensorType.FLOAT32)
        signature.inputs = named(tokens=tensor([1, length], schema.TensorType.INT32), mask=mask)
        signature.outputs = named(logits=tensor([1, 1, rows], schema.TensorType.FLOAT32)) if name == "decode" else []
        model.signatureDefs.append(signature)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
