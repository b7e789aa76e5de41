"""A hostile artefact runs nothing: digests made to agree, every loader of skops, every way to hide a call."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featx
from featx import make_head
from featx.artifact.allow_list import LOADERS, allowed
from featx.artifact.skops_file import from_skops, to_skops
from featx.errors import ArtifactError, ParameterError, UntrustedTypeError
from featx.store.digest import digest_bytes


def node(name: str, loader: str, **fields: Any) -> dict[str, Any]:
    module, _, kind = name.rpartition(".")
    return {"__module__": module, "__class__": kind, "__loader__": loader, **fields}


def text(value: Any) -> dict[str, Any]:
    return node("builtins.str", "JsonNode", content=json.dumps(value), is_json=True)


def items(*children: Any) -> dict[str, Any]:
    return node("builtins.list", "ListNode", content=list(children))


def tuple_of(*children: Any) -> dict[str, Any]:
    return node("builtins.tuple", "TupleNode", content=list(children))


def mapping(**children: Any) -> dict[str, Any]:
    keys = items(*[node("builtins.str", "TypeNode") for _ in children])
    return node("builtins.dict", "DictNode", content=children, key_types=keys)


def packed(root: dict[str, Any], files: dict[str, bytes] | None = None, **how: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **how) as archive:
        for name, content in (files or {}).items():
            archive.writestr(name, content)
        archive.writestr("schema.json", json.dumps({"protocol": 2, "_skops_version": "0.16.0", **root}))
    return buffer.getvalue()


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """The folder that every attack below would make."""
    return tmp_path / "sentinel"


def attacks(sentinel: str) -> dict[str, dict[str, Any]]:
    """Roots of files that make the folder ``sentinel`` once one of their names is called with their arguments."""
    make, run = f"import os; os.mkdir({sentinel!r})", f"mkdir {sentinel}"
    mkdir = node("os.mkdir", "FunctionNode")
    argument = tuple_of(text(sentinel))
    scaler = node(
        "sklearn.preprocessing._data.StandardScaler", "ObjectNode", content=mapping(copy=text(True))
    )
    slot = mapping(kind=text("features"), index=text(0), attributes=mapping())
    return {
        "function": mkdir,
        "function of another module": node("os.system", "FunctionNode"),
        "type": node("builtins.eval", "TypeNode"),
        "exec": node("builtins.exec", "FunctionNode"),
        "pickle": node("pickle.loads", "FunctionNode"),
        "lambda type": node("types.FunctionType", "TypeNode"),
        "constructor": node("os.mkdir", "ConstructorFromReduceNode", content=argument),
        "constructor of a process": node(
            "subprocess.Popen", "ConstructorFromReduceNode", content=tuple_of(text(run))
        ),
        "constructor called eval": node(
            "builtins.eval", "ConstructorFromReduceNode", content=tuple_of(text(make))
        ),
        "constructor of a path": node("pathlib.PosixPath", "ConstructorFromReduceNode", content=argument),
        "list": node("os.mkdir", "ListNode", content=[text(sentinel)]),
        "set": node("os.mkdir", "SetNode", content=[text(sentinel)]),
        "tuple": node("os.mkdir", "TupleNode", content=[text(sentinel)]),
        "mapping": node("os.mkdir", "DictNode", content={}, key_types=items()),
        "keys": node("builtins.dict", "DictNode", content={sentinel: text(1)}, key_types=items(mkdir)),
        "keys that evaluate": node(
            "builtins.dict",
            "DictNode",
            content={make: text(1)},
            key_types=items(node("builtins.exec", "TypeNode")),
        ),
        "default factory": node(
            "collections.defaultdict",
            "DefaultDictNode",
            content={"main": mapping(), "default_factory": mkdir},
        ),
        "partial": node(
            "functools.partial",
            "PartialNode",
            content={"func": mkdir, "args": argument, "kwds": mapping(), "namespace": text(None)},
        ),
        "method": node(
            "sklearn.preprocessing._data.StandardScaler", "MethodNode", content={"func": "fit", "obj": scaler}
        ),
        "method of another object": node("os.mkdir", "MethodNode", content={"func": "fit", "obj": scaler}),
        "method of what featx allows": node(
            "featx.artifact.slots.Slot",
            "MethodNode",
            content={
                "func": "__reduce__",
                "obj": node("featx.artifact.slots.Slot", "ObjectNode", content=slot),
            },
        ),
        "method caller": node(
            "operator.methodcaller", "OperatorFuncNode", attrs=tuple_of(text("mkdir"), text(sentinel))
        ),
        "operator": node("operator.attrgetter", "OperatorFuncNode", attrs=tuple_of(text("__class__"))),
        "operator of another module": node("os.mkdir", "OperatorFuncNode", attrs=argument),
        "object": node("subprocess.Popen", "ObjectNode", content=mapping(args=text(run))),
        "object inside": node(
            "sklearn.preprocessing._data.StandardScaler",
            "ObjectNode",
            content=mapping(copy=node("os.mkdir", "ObjectNode")),
        ),
        "array type": node("os.mkdir", "NdArrayNode", type="numpy", file="array.npy"),
        "array of objects": node(
            "numpy.ndarray", "NdArrayNode", type="json", content=[mkdir], shape=tuple_of(text(1))
        ),
        "random state": node("os.mkdir", "RandomStateNode", content=mapping()),
        "generator": node(
            "numpy.random._generator.Generator",
            "RandomGeneratorNode",
            content={"bit_generator": mapping(bit_generator=text("seed")), "seed_seq": mapping()},
        ),
        "loss": node("os.mkdir", "LossNode", content=mapping(), __reduce__={"args": argument}),
        "tree": node("os.mkdir", "TreeNode", content=mapping(), __reduce__={"args": argument}),
        "masked array": node("os.mkdir", "MaskedArrayNode", content={"data": items(), "mask": items()}),
        "dtype": node("os.mkdir", "DTypeNode", content=items()),
        "bytes": node("os.mkdir", "BytesNode", file="array.npy"),
        "sparse": node("os.mkdir", "SparseMatrixNode", type="scipy", file="array.npy"),
        "module that acts when imported": node("acting_module.Thing", "TypeNode"),
        "old protocol": node(
            "os.mkdir", "FunctionNode", content={"module_path": "os", "function": "mkdir"}, protocol=0
        ),
        "later protocol": node("os.mkdir", "FunctionNode", protocol=3),
        "protocol that is none": node("os.mkdir", "FunctionNode", protocol=True),
        "unknown loader": node("os.mkdir", "NovelNode", content=[]),
        "cached": node("os.mkdir", "CachedNode", __id__=1),
        "one featx allows, called": node(
            "featx.boosted.BoostedTreesClassifier", "ConstructorFromReduceNode", content=argument
        ),
        "one featx allows, as a list": node(
            "featx.artifact.slots.Slot", "ListNode", content=[text("a"), text(0)]
        ),
        "one featx allows, as a tree": node(
            "featx.artifact.slots.Slot", "TreeNode", content=mapping(), __reduce__={"args": argument}
        ),
        "no text": node("os.mkdir", "FunctionNode") | {"__module__": ["os"]},
        "loader that is no text": node("os.mkdir", "FunctionNode") | {"__loader__": {}},
        "nothing": {},
        "no class": {"__loader__": "ObjectNode"},
    }


@pytest.fixture
def acting_module(tmp_path: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acting_module.py").write_text(f"import os\nos.mkdir({str(sentinel)!r})\n")
    monkeypatch.syspath_prepend(tmp_path)


NAMED = {
    "function": "os.mkdir",
    "function of another module": "os.system",
    "type": "builtins.eval",
    "exec": "builtins.exec",
    "pickle": "pickle.loads",
    "lambda type": "types.FunctionType",
    "constructor": "os.mkdir",
    "constructor of a process": "subprocess.Popen",
    "constructor called eval": "builtins.eval",
    "keys": "os.mkdir",
    "keys that evaluate": "builtins.exec",
    "default factory": "os.mkdir",
    "partial": "functools.partial",
    "method": "StandardScaler.fit",
    "method caller": "operator.methodcaller",
    "operator": "operator.attrgetter",
    "object inside": "os.mkdir",
    "array of objects": "os.mkdir",
    "generator": "numpy.random.seed",
    "module that acts when imported": "acting_module.Thing",
}


@pytest.mark.usefixtures("acting_module")
@pytest.mark.parametrize("name", attacks("sentinel"))
@pytest.mark.parametrize("nested", [False, True], ids=["root", "nested"])
def test_a_hostile_pipeline_runs_nothing(
    name: str, nested: bool, fitted: Callable[..., Any], sentinel: Path, tmp_path: Path
) -> None:
    root = attacks(str(sentinel))[name]
    if nested:
        protocol = root.pop("protocol", 2)
        step = tuple_of(text("evil"), root)
        root = node(
            "sklearn.pipeline.Pipeline", "ObjectNode", content=mapping(steps=items(step)), protocol=protocol
        )
    folder = featx.save(fitted(), tmp_path / "model")
    array = io.BytesIO()
    np.save(array, np.arange(3))
    replace_pipeline(folder, packed(root, {"array.npy": array.getvalue()}))
    with pytest.raises(UntrustedTypeError if name in NAMED else ArtifactError) as raised:
        featx.load(folder)
    assert not sentinel.exists()
    assert "acting_module" not in sys.modules
    assert str(folder / "pipeline.skops") in str(raised.value)
    if name.startswith("one featx allows"):
        assert "The file was tampered with" in str(raised.value)
    if name in NAMED:
        assert NAMED[name] in str(raised.value)
        assert "trusted=(" in str(raised.value)


def test_the_attacks_would_act_if_they_were_trusted(sentinel: Path) -> None:
    """Else the test above could not fail."""
    from_skops(packed(attacks(str(sentinel))["constructor"]), trusted=["os.mkdir"])
    assert sentinel.exists()


def replace_pipeline(folder: Path, content: bytes) -> None:
    """Put other content in place of ``pipeline.skops``, and make the digests agree."""
    (folder / "pipeline.skops").write_bytes(content)
    values = json.loads((folder / "artifact.json").read_text())
    for entry in values["files"]:
        if entry["path"] == "pipeline.skops":
            entry |= {"n_bytes": len(content), "digest": digest_bytes(content).hex()}
    (folder / "artifact.json").write_text(json.dumps(values))


class Unpickled:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__("os").mkdir, (self.folder,)


def test_arrays_and_matrices_are_not_unpickled(sentinel: Path) -> None:
    array = np.array([Unpickled(sentinel)], dtype=object)
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, array, allow_pickle=True)
    np.savez(npz, format=np.array("csr"), data=array, indices=array, indptr=array, shape=array)
    for root, content in (
        (node("numpy.ndarray", "NdArrayNode", type="numpy", file="x"), npy),
        (node("scipy.sparse._matrix.spmatrix", "SparseMatrixNode", type="scipy", file="x"), npz),
    ):
        with pytest.raises(ArtifactError, match="allow_pickle=False"):
            from_skops(packed(root, {"x": content.getvalue()}))
    assert not sentinel.exists()


def test_a_pickle_in_place_of_the_pipeline_or_the_trees_is_refused(
    fitted: Callable[..., Any], sentinel: Path, tmp_path: Path
) -> None:
    folder = featx.save(fitted(make_head("xgboost", n_estimators=2)), tmp_path / "model")
    evil = pickle.dumps(Unpickled(sentinel))
    (folder / "booster-0.ubj").write_bytes(evil)
    values = json.loads((folder / "artifact.json").read_text())
    for entry in values["files"]:
        if entry["path"] == "booster-0.ubj":
            entry |= {"n_bytes": len(evil), "digest": digest_bytes(evil).hex()}
    (folder / "artifact.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="an xgboost model cannot be read"):
        featx.load(folder)
    replace_pipeline(folder, evil)
    with pytest.raises(ArtifactError, match="not a readable pipeline"):
        featx.load(folder)
    assert not sentinel.exists()


def test_a_compressed_pipeline_is_refused_before_it_is_unpacked() -> None:
    bomb = packed(items(), {"zeros": bytes(1 << 24)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 16
    with pytest.raises(ArtifactError, match="compressed"):
        from_skops(bomb)


def test_deep_nesting_is_refused() -> None:
    root = text(1)
    for _ in range(300):
        root = items(root)
    schema = json.dumps(root).replace('"content": "1"', '"content": ' + "[" * 100_000 + "]" * 100_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(ArtifactError, match="RecursionError"):
        from_skops(buffer.getvalue())


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ({"kind": "features", "index": 1}, "slot for features 1, and there are 1"),
        ({"kind": "features", "index": -1}, "without a number"),
        ({"kind": "features", "index": True}, "without a number"),
        ({"kind": "features", "index": "0"}, "without a number"),
        ({"kind": "booster", "index": 0}, r"booster-0\.ubj is needed and not listed"),
        ({"kind": "../../etc", "index": 0}, "a slot for '../../etc'"),
        ({}, "without a number"),
    ],
)
def test_slots_that_nothing_belongs_in_are_refused(
    slot: dict[str, Any], message: str, fitted: Callable[..., Any], tmp_path: Path
) -> None:
    folder = featx.save(fitted(), tmp_path / "model")
    state = mapping(**{name: text(value) for name, value in slot.items()}, attributes=mapping())
    replace_pipeline(folder, packed(node("featx.artifact.slots.Slot", "ObjectNode", content=state)))
    with pytest.raises(ArtifactError, match=message):
        featx.load(folder)


def test_a_slot_cannot_change_what_the_manifest_says(fitted: Callable[..., Any], tmp_path: Path) -> None:
    folder = featx.save(fitted(), tmp_path / "model")
    attributes = mapping(
        cache=text("//evil/share"), spaces_=text([]), backbone=text("evil.onnx"), note=text("kept")
    )
    state = mapping(kind=text("features"), index=text(0), attributes=attributes)
    replace_pipeline(folder, packed(node("featx.artifact.slots.Slot", "ObjectNode", content=state)))
    features = featx.load(folder, cache=None)
    assert features.cache is None
    assert len(features.spaces_) == 1
    assert features.backbone == str(folder / "backbones" / "tiny")
    assert features.note == "kept"


def test_a_folder_to_unpickle_from_is_not_taken_over(fitted: Callable[..., Any], tmp_path: Path) -> None:
    folder = featx.save(fitted(), tmp_path / "model")
    steps = items(tuple_of(text("scale"), node("sklearn.preprocessing._data.StandardScaler", "ObjectNode")))
    root = node(
        "sklearn.pipeline.Pipeline", "ObjectNode", content=mapping(steps=steps, memory=text("//evil/share"))
    )
    replace_pipeline(folder, packed(root))
    assert featx.load(folder).memory is None


def test_what_is_no_estimator_is_refused(fitted: Callable[..., Any], tmp_path: Path) -> None:
    folder = featx.save(fitted(), tmp_path / "model")
    replace_pipeline(folder, packed(items(text(1))))
    with pytest.raises(ArtifactError, match="holds a list, expected an estimator"):
        featx.load(folder)


@pytest.mark.parametrize("trusted", ["os.system", ("system",), (3,)])
def test_trusted_is_a_sequence_of_full_names(
    trusted: Any, fitted: Callable[..., Any], tmp_path: Path
) -> None:
    folder = featx.save(fitted(), tmp_path / "model")
    with pytest.raises(ParameterError, match="full names"):
        featx.load(folder, trusted=trusted)


def test_every_allowed_name_can_be_found_and_none_is_a_calling_loader() -> None:
    import importlib

    import sklearn.experimental.enable_halving_search_cv  # noqa: F401 - two of the names appear only with it

    for name, loader in allowed().items():
        module, _, kind = name.rpartition(".")
        assert hasattr(importlib.import_module(module), kind), name
        assert loader in {"ObjectNode", "FunctionNode", "TypeNode", "DictNode", "DTypeNode"}


def test_every_loader_of_skops_is_known() -> None:
    """A loader that a new version of skops brings has to be looked at before it is let in."""
    from skops.io._audit import NODE_TYPE_MAPPING

    known = {name for name, _ in NODE_TYPE_MAPPING}
    assert known - LOADERS <= {"CachedNode", "_DictWithDeprecatedKeysNode"}  # never written


def test_what_is_written_names_no_pickle_and_reads_back() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1])
    content = to_skops(model)
    np.testing.assert_array_equal(
        from_skops(content).predict_proba(np.eye(4)), model.predict_proba(np.eye(4))
    )
