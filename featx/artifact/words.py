"""An artefact in words: one line for a pipeline, one for a feature space, and the README of its folder."""

from __future__ import annotations

from typing import Any

from featx.artifact.format import TRAINING_NAME
from featx.artifact.records import ArtifactInfo, BackboneRecord
from featx.backbones.augment import View
from featx.backbones.feature_space import FeatureSpace
from featx.backbones.window import Window

__all__ = ["pipeline_in_words", "readme", "space_in_words"]


def pipeline_in_words(pipeline: Any) -> str:
    """The classes of a pipeline's steps, as ``ImageFeatures -> StandardScaler -> LogisticRegression``."""
    steps = getattr(pipeline, "steps", None)
    if isinstance(steps, list):
        return " -> ".join(pipeline_in_words(step) for _, step in steps)
    # `estimator` is what a search, a calibration or an ensemble is around.
    inner = getattr(pipeline, "estimator", None)
    around = f"({pipeline_in_words(inner)})" if hasattr(inner, "get_params") else ""
    return (pipeline if isinstance(pipeline, str) else type(pipeline).__name__) + around


def space_in_words(space: FeatureSpace, backbone: str, n_features: int) -> str:
    """What the columns of a feature space are, in a sentence."""
    preprocess = space.to_dict()["preprocess"]
    if preprocess.get("kind") == "text":
        return _text_space_in_words(space, preprocess, backbone, n_features)
    pooling = "" if space.pooling == "none" else f"{space.pooling} pooling, "
    steps = [f"{space.tap} of {backbone} ({pooling}{n_features} columns, {space.precision})"]
    size, crop = preprocess.get("size"), preprocess.get("crop")
    if isinstance(size, int):
        steps.append(f"shortest edge resized to {size} px ({preprocess['resample']})")
    elif size is not None:
        steps.append(f"resized to {size[0]} x {size[1]} px ({preprocess['resample']})")
    if crop is not None:
        steps.append(f"centre of {crop[0]} x {crop[1]} px")
    if "window" in preprocess:
        steps.append(f"deep images shown through a window of {Window.from_dict(preprocess['window'])}")
    if "view" in preprocess:
        view = View.from_dict(preprocess["view"])
        steps.append(f"view {view.number} (seed {view.seed}) of {view.augment}")
    steps.append(
        f"{preprocess.get('channel_order', 'rgb').upper()}, {preprocess.get('decode', 'exact')} decoding"
    )
    return "; ".join(steps)


def _text_space_in_words(
    space: FeatureSpace, preprocess: dict[str, Any], backbone: str, n_features: int
) -> str:
    pooling = "" if space.pooling == "none" else f"{space.pooling} pooling, "
    steps = [f"{space.tap} of {backbone} ({pooling}{n_features} columns, {space.precision})"]
    steps.append(f"texts of up to {preprocess['max_length']} tokens")
    if preprocess["prompt"]:
        steps.append(f"after the prompt {preprocess['prompt']!r}")
    if preprocess["dense"]:
        steps.append(f"{len(preprocess['dense'])} dense layer(s)")
    if preprocess["normalize"]:
        steps.append("scaled to length 1")
    return "; ".join(steps)


def readme(info: ArtifactInfo, *, name: str, method: str) -> str:
    """The README of an artefact's folder, in Markdown.

    Parameters
    ----------
    info : ArtifactInfo
        Without the files, which are not known yet.
    name : str
        The folder's name.
    method : str
        What the pipeline is used for: ``"predict"`` or ``"transform"``.
    """
    parts = [
        f"# {name}",
        f"A fitted scikit-learn pipeline, saved by featx {info.versions['featx']} on {info.created[:10]}:\n\n"
        f"    {info.estimator}",
        _use(info, name, method),
        *([_classes(info)] if info.classes is not None else []),
        *([f"## Notes\n\n{info.notes}"] if info.notes else []),
        *([_features(info)] if info.features else []),
        *(["## Backbones\n\n" + "\n".join(map(_backbone, info.backbones))] if info.backbones else []),
        *([_training(info)] if info.n_training_samples is not None else []),
        "## Versions\n\nSaved with "
        + ", ".join(f"{package} {version}" for package, version in info.versions.items())
        + ".",
        f"## Format\n\nA featx artefact of format {info.format}. `artifact.json` says what is in it, with a digest of every "
        "file but this one, which is yours to write in; another file that was changed since is refused. Loading runs "
        "no pickle and builds no type that is not on featx's list"
        + (" or named in `trusted`." if info.untrusted_types else "."),
    ]
    return "\n\n".join(parts) + "\n"


def _use(info: ArtifactInfo, name: str, method: str) -> str:
    arguments = [f'"{name}"']
    if any(record.stored == "reference" for record in info.backbones):
        arguments.append('backbone="path/to/backbone"')
    if info.untrusted_types:
        arguments.append("trusted=(" + " ".join(f'"{kind}",' for kind in info.untrusted_types) + ")")
    if info.columns:
        lines = ["import pandas as pd", ""]
        frame = ", ".join(f"{name!r}: [...]" for name in info.columns)
        samples = f"pd.DataFrame({{{frame}}})"
    else:
        lines = []
        kinds = {record.kind for record in info.features}
        samples = '["a text"]' if kinds == {"text"} else '["picture.jpg"]' if kinds else "X"
    lines = [
        *lines[:-1],
        "import featx",
        "",
        f"model = featx.load({', '.join(arguments)})",
        f"model.{method}({samples})",
    ]
    use = "## Use\n\n```python\n" + "\n".join(lines) + "\n```"
    if info.sample_column is not None:
        use += f"\n\n`featx predict {name} TABLE.csv` takes what stands in the column {info.sample_column!r}."
    return use


def _classes(info: ArtifactInfo) -> str:
    names = [str(value) for value in info.classes or ()]
    if info.labels is not None:
        names = [
            f"{name} ({label})" if name != label else name
            for name, label in zip(names, info.labels, strict=True)
        ]
    return f"## Classes\n\n{len(names)}: {', '.join(names)}."


def _training(info: ArtifactInfo) -> str:
    n = info.n_training_samples
    samples = "sample" if n == 1 else "distinct samples"
    return (
        f"## Training samples\n\n`{TRAINING_NAME}` holds digests of the {n} {samples} that it was trained on, so that `featx "
        "evaluate --model` can tell when it is judged on them. They are sorted, and name nothing. Whoever holds the very same "
        "file or text can find out by them that it was among these samples; short texts can be guessed."
    )


def _features(info: ArtifactInfo) -> str:
    lines = dict.fromkeys(words for record in info.features for words in record.words)
    return "## Features\n\n" + "\n".join(f"- {line}." for line in lines)


def _backbone(record: BackboneRecord) -> str:
    where = (
        f"a copy is in `backbones/{record.name}`"
        if record.stored == "copy"
        else "not in this folder: featx.load finds it by its digest, or takes it as `backbone=`"
    )
    terms = (
        f"Licence: {record.licence}."
        if record.licence
        else "Its card names no licence: ask where it comes from."
    )
    source = f" Source: {record.source}." if record.source else ""
    return f"- **{record.name}**, digest `{record.digest}`; {where}. {terms}{source}"
