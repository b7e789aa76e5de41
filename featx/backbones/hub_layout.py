"""Which files of a repository are one backbone: references parsed, one variant chosen, the small files that describe it.

Pure functions over the list of a repository's files; nothing here talks to anybody. Repositories often carry one model many
times over (optimised, quantised, in half precision): exactly one variant is ever chosen, and never by guessing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from featx.errors import BackboneNotFoundError, ParameterError, did_you_mean

__all__ = [
    "WEIGHTS_NAME",
    "HubReference",
    "checkpoint_files",
    "choose_model",
    "described_folder",
    "describing_files",
    "onnx_files",
    "stays_inside",
]

WEIGHTS_NAME = "model.safetensors"
"""The file that an encoder is built from where a repository has no ONNX file, or where it is asked for by this name."""

_FORMS = {
    "hub": "hub:owner/name, hub:owner/name@revision or hub:owner/name#file, such as hub:Xenova/resnet-50 or "
    "hub:sentence-transformers/all-MiniLM-L6-v2#onnx/model_O3.onnx",
    "hf": "hf:owner/name or hf:owner/name@revision, such as hf:microsoft/resnet-50; the checkpoint in a folder is given by the "
    "folder's path alone",
}
# The plain float32 export, as Optimum, sentence-transformers and transformers.js name it.
_PLAIN = ("onnx/model.onnx", "model.onnx")
_DESCRIBING = frozenset(
    {
        "config.json",
        "config_sentence_transformers.json",
        "featx.json",
        "modules.json",
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
)
# sentence-transformers puts each module behind the encoder into a folder of its own: 1_Pooling, 2_Dense.
_MODULE_FILE = re.compile(r"\d+_[A-Za-z]+/(config\.json|model\.safetensors)")
# sentence_bert_config.json, and the names that it had for other networks.
_SENTENCE_FILE = re.compile(r"sentence_[a-z-]+_config\.json")
# Files without which pixels or tokens cannot be made.
_ESSENTIAL = ("preprocessor_config.json", "tokenizer.json", "featx.json")
_NAME = r"[A-Za-z0-9][\w.-]*"
_REPOSITORY = re.compile(rf"{_NAME}(/{_NAME})?", re.ASCII)
# What git allows in the name of a branch or tag (git-check-ref-format), in ASCII.
_REVISION = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$))[A-Za-z0-9_](?:[\w.+@/-]*[\w+@-])?", re.ASCII)
# What transformers reads of a checkpoint besides weights: configurations, vocabularies, merges, models of SentencePiece.
_CHECKPOINT_FILE = re.compile(r"[^/]+\.(json|txt|model|tiktoken)")
# Weights of one checkpoint in the order in which transformers looks for them: one file, or the index of several.
_WEIGHTS = (
    (WEIGHTS_NAME, r"model\.safetensors"),
    (f"{WEIGHTS_NAME}.index.json", r"model-\d+-of-\d+\.safetensors"),
    ("pytorch_model.bin", r"pytorch_model\.bin"),
    ("pytorch_model.bin.index.json", r"pytorch_model-\d+-of-\d+\.bin"),
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_LISTED = 20
_NOT_IN_NAMES = '\\:*?"<>|'  # Windows refuses them, or reads a drive, a stream or a folder from them


@dataclass(frozen=True, slots=True)
class HubReference:
    """``hub:owner/name[@revision][#file]``, or ``hf:owner/name[@revision]``, taken apart.

    Parameters
    ----------
    repository : str
        ``owner/name``; a few old repositories have no owner.
    revision : str or None
        A branch, a tag or a commit; None is the default branch.
    file : str or None
        A path in the repository, or the stem of an ONNX file; None is the plain variant.
    scheme : {"hub", "hf"}
        Whether the repository holds a backbone, or a checkpoint of transformers to make one of.

    Examples
    --------
    >>> HubReference.parse("hub:owner/name@v1#onnx/model_O3.onnx")
    HubReference(repository='owner/name', revision='v1', file='onnx/model_O3.onnx', scheme='hub')
    >>> str(HubReference("owner/name", None, "model_O3"))
    'hub:owner/name#model_O3'
    """

    repository: str
    revision: str | None = None
    file: str | None = None
    scheme: str = "hub"

    @classmethod
    def parse(cls, text: str, scheme: str = "hub") -> HubReference:
        """Take a reference apart.

        Raises
        ------
        ParameterError
            It is not of that form.
        """
        head, has_file, file = text.removeprefix(f"{scheme}:").partition("#")
        repository, has_revision, revision = head.partition("@")
        if (
            not text.startswith(f"{scheme}:")
            or not _REPOSITORY.fullmatch(repository)
            or (has_revision and not _REVISION.fullmatch(revision))
            or (has_file and (scheme != "hub" or not stays_inside(file)))
        ):
            raise ParameterError(f"{text}: expected {_FORMS[scheme]}.")
        return cls(repository, revision or None, file or None, scheme)

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        file = "" if self.file is None else f"#{self.file}"
        return f"{self.scheme}:{self.repository}{revision}{file}"

    @property
    def name(self) -> str:
        """The repository's name without its owner; with the variant's stem where one is named.

        Examples
        --------
        >>> HubReference("a/resnet-50").name, HubReference("a/resnet-50", None, "onnx/model_fp16.onnx").name
        ('resnet-50', 'resnet-50-model_fp16')
        """
        name = self.repository.rpartition("/")[2]
        if self.file is None or self.file in (*_PLAIN, WEIGHTS_NAME):
            return name
        return f"{name}-{PurePosixPath(self.file).stem}"

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a full commit, whose files never change."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None


def onnx_files(files: Iterable[str]) -> list[str]:
    """The ONNX files among a repository's, sorted."""
    return sorted(file for file in files if file.endswith(".onnx"))


def stays_inside(name: str) -> bool:
    """Whether a relative name, from a server or a user, is of something inside its folder on every system (CWE-22)."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and name.isprintable()
        and name == name.strip()
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(name) & set(_NOT_IN_NAMES)
    )


def choose_model(reference: HubReference, files: Collection[str], *, or_weights: bool = False) -> str:
    """The one file of a repository that a reference means.

    Parameters
    ----------
    reference : HubReference
    files : collection of str
        Paths of all files in the repository.
    or_weights : bool
        Whether ``model.safetensors`` will do where nothing is named and there is no ONNX file.

    Returns
    -------
    str
        The file that is named; else ``onnx/model.onnx``, ``model.onnx``, or the only ONNX file.

    Raises
    ------
    BackboneNotFoundError
        No such file, no ONNX file, or several of which none is the plain one; the message lists them.
    """
    models = onnx_files(files)
    if reference.file is not None:
        return _named(reference, reference.file, files, models)
    for plain in _PLAIN:
        if plain in models:
            return plain
    if len(models) == 1:
        return models[0]
    if models:
        raise BackboneNotFoundError(
            f"{reference}: several ONNX files and none called model.onnx: {_listed(models)}. Name the one you mean: "
            f"{_with_file(reference, models[0])}"
        )
    if or_weights and WEIGHTS_NAME in files and "config.json" in files:
        return WEIGHTS_NAME
    raise BackboneNotFoundError(
        f"{reference}: the repository has no ONNX file. {_without_onnx(reference, files)}"
    )


def _named(reference: HubReference, asked: str, files: Collection[str], models: list[str]) -> str:
    if asked in models or (asked == WEIGHTS_NAME and asked in files):
        return asked
    found = [file for file in models if asked in (PurePosixPath(file).stem, PurePosixPath(file).name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BackboneNotFoundError(
            f"{reference}: {asked!r} is several files: {_listed(found)}. Name one by its whole path."
        )
    hint = did_you_mean(asked, [*models, *(PurePosixPath(file).stem for file in models)])
    there = f"ONNX files there: {_listed(models)}." if models else _without_onnx(reference, files)
    raise BackboneNotFoundError(f"{reference}: the repository has no file {asked!r}.{hint} {there}")


def described_folder(model: str, files: Collection[str]) -> str:
    """The folder of a repository whose files describe a model: ``""`` for the root, else a path that ends in ``/``.

    The root, unless only a folder nearer to the model says how pixels or tokens are made.
    """
    folders = [parent for parent in PurePosixPath(model).parents if str(parent) != "."]
    for prefix in ("", *(f"{folder}/" for folder in folders)):
        if any(f"{prefix}{name}" in files for name in _ESSENTIAL):
            return prefix
    return ""


def describing_files(model: str, files: Collection[str]) -> list[str]:
    """The small files that say how a model is used, sorted; never weights, but for those of dense layers behind the pooling."""
    prefix = described_folder(model, files)
    inside = ((file, file.removeprefix(prefix)) for file in files if file.startswith(prefix))
    describing = (_MODULE_FILE, _SENTENCE_FILE)
    return sorted(
        file
        for file, name in inside
        if name in _DESCRIBING or any(pattern.fullmatch(name) for pattern in describing)
    )


def checkpoint_files(reference: HubReference, files: Collection[str]) -> list[str]:
    """What transformers needs of a repository: weights in one form, and what describes them, sorted. Never code.

    Raises
    ------
    BackboneNotFoundError
        It is no checkpoint of transformers.
    """
    if "config.json" not in files:
        there = " It holds ONNX files: featx backbones pull hub:" if onnx_files(files) else ""
        raise BackboneNotFoundError(
            f"{reference}: the repository has no config.json, so it is no checkpoint of transformers."
            f"{there}{reference.repository if there else ''}"
        )
    pattern = next((pattern for name, pattern in _WEIGHTS if name in files), None)
    if pattern is None:
        raise BackboneNotFoundError(
            f"{reference}: the repository has no weights that transformers reads: expected {' or '.join(n for n, _ in _WEIGHTS)}."
        )
    weights = [file for file in files if re.fullmatch(pattern, file)]
    describing = [file for file in files if _CHECKPOINT_FILE.fullmatch(file) or _MODULE_FILE.fullmatch(file)]
    return sorted({*weights, *describing})


def _without_onnx(reference: HubReference, files: Collection[str]) -> str:
    if WEIGHTS_NAME in files and "config.json" in files:
        plain = HubReference(reference.repository, reference.revision)
        return (
            f'An encoder of the BERT family is built from its {WEIGHTS_NAME} by "featx backbones pull {plain}"; any other '
            f'network is exported with torch by "featx backbones export hf:{reference.repository} OUT".'
        )
    if "config.json" in files:
        return f'Export it with torch: "featx backbones export hf:{reference.repository} OUT".'
    return "Export the model to ONNX, or look for a repository that holds it as ONNX."


def _with_file(reference: HubReference, file: str) -> str:
    return str(HubReference(reference.repository, reference.revision, file))


def _listed(files: list[str]) -> str:
    more = len(files) - _MOST_LISTED
    return ", ".join(files[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
