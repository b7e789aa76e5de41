"""A small seeded encoder of texts, for featx's own tests and for yours: random weights, one layer of attention."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["tiny_text_backbone"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_OFF = -1e4  # what a masked score is lowered by


def tiny_text_backbone(
    folder: str | Path,
    *,
    seed: int = 0,
    width: int = 16,
    positions: int = 64,
    pooling: str | None = "mean",
    normalize: bool = False,
) -> Path:
    """Write a small encoder with random weights as a backbone folder, its tokenizer one of letters and digits.

    Parameters
    ----------
    folder : path
        Where the files are written; made where it does not exist.
    seed : int
        Two seeds give two networks.
    width : int
        Length of a vector.
    positions : int
        Longest input in tokens.
    pooling : {"mean", "cls", "max"} or None
        What its ``1_Pooling/config.json`` says; None writes none.
    normalize : bool
        Whether its ``modules.json`` ends in a normalisation.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*_SPECIAL, *string.ascii_lowercase, *string.digits]
    onnx.save(_network(seed, len(vocabulary), width, positions), folder / "model.onnx")
    files: dict[str, Any] = {
        "tokenizer.json": _tokenizer(vocabulary),
        "config.json": {"model_type": "bert", "max_position_embeddings": positions, "pad_token_id": 0},
    }
    if pooling is not None:
        kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
        files["modules.json"] = [
            {
                "idx": at,
                "path": "" if at == 0 else f"{at}_{kind}",
                "type": f"sentence_transformers.models.{kind}",
            }
            for at, kind in enumerate(kinds)
        ]
        files["1_Pooling/config.json"] = {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
        }
    for name, values in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


def _network(seed: int, n_words: int, width: int, positions: int) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    weights = {
        "words": rng.normal(0, 1, (n_words, width)),
        "places": rng.normal(0, 0.3, (positions, width)),
        "query": rng.normal(0, width**-0.5, (width, width)),
        "key": rng.normal(0, width**-0.5, (width, width)),
        "value": rng.normal(0, width**-0.5, (width, width)),
        "scale": np.asarray(width**-0.5),
        "off": np.asarray(_OFF),
        "one": np.asarray(1.0),
    }
    tensors = [numpy_helper.from_array(np.asarray(w, np.float32), name) for name, w in weights.items()]
    whole = {"from": [0], "step": [1], "length_axis": [1], "heads": [1]}
    tensors += [numpy_helper.from_array(np.asarray(v, np.int64), name) for name, v in whole.items()]

    def node(op: str, inputs: str, out: str, **attributes: Any) -> NodeProto:
        return helper.make_node(op, inputs.split(), [out], **attributes)

    nodes = [
        node("Gather", "words input_ids", "embedded"),
        node("Shape", "input_ids", "shape"),
        node("Gather", "shape length_axis", "length"),
        node("Slice", "places from length from step", "placed"),
        node("Add", "embedded placed", "start"),
        node("MatMul", "start query", "queries"),
        node("MatMul", "start key", "keys"),
        node("MatMul", "start value", "values"),
        node("Transpose", "keys", "turned", perm=[0, 2, 1]),
        node("MatMul", "queries turned", "raw"),
        node("Mul", "raw scale", "scaled"),
        node("Cast", "attention_mask", "mask", to=TensorProto.FLOAT),
        node("Sub", "one mask", "absent"),
        node("Mul", "absent off", "lowered"),
        node("Unsqueeze", "lowered heads", "broadcast"),
        node("Add", "scaled broadcast", "scores"),
        node("Softmax", "scores", "attention", axis=-1),
        node("MatMul", "attention values", "mixed"),
        node("Add", "start mixed", "summed"),
        node("Tanh", "summed", "last_hidden_state"),
    ]
    axes = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.INT64, axes) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*axes, width])],
        initializer=tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _tokenizer(vocabulary: list[str]) -> dict[str, Any]:
    """Lower case, a token a letter or digit, [CLS] before and [SEP] behind."""
    ids = {word: at for at, word in enumerate(vocabulary)}
    special = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[name],
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name in _SPECIAL
        ],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": special,
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    }
