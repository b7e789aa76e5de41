"""Any torch module as what is exported: its inputs from a preprocessing or a tokenizer, its outputs as it names them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from featx.backbones.preprocess import MISSING_PREPROCESS_HELP, ImagePreprocess
from featx.backbones.text_preprocess import TOKENIZER_NAME
from featx.errors import ConversionError, ParameterError, PreprocessError
from featx.exporting.inputs import ImageInputs, TextInputs
from featx.exporting.network import Network, Original, Output, frozen, named_tensors
from featx.exporting.pictures import CONFIG_NAME, ImageSize, given_pictures
from featx.exporting.texts import given_texts

__all__ = ["from_module"]

# What transformers calls the outputs that a backbone can be read at, best first.
_KNOWN = ("image_embeds", "sentence_embedding", "last_hidden_state", "pooler_output", "logits")


def from_module(
    module: torch.nn.Module,
    *,
    example: Any,
    preprocess: ImagePreprocess | Mapping[str, Any] | None,
    tokenizer: Any,
    pooling: str | None,
    output_names: Sequence[str] | None,
    image_size: ImageSize,
) -> Original:
    """A module of the caller's.

    Parameters
    ----------
    module, example, preprocess, tokenizer, pooling, output_names, image_size
        See :func:`featx.export_backbone`.

    Raises
    ------
    ParameterError
        Both or neither of ``preprocess`` and ``tokenizer``, or an example that does not fit them.
    ConversionError
        The module does not run, or returns no tensor.
    """
    if (preprocess is None) == (tokenizer is None):
        raise ParameterError(
            "a module needs either a preprocess (it takes pictures) or a tokenizer (it takes texts). "
            f"{MISSING_PREPROCESS_HELP}"
        )
    if preprocess is not None and pooling is not None:
        raise ParameterError(f"pooling={pooling!r}: is for texts, and a preprocess for pictures.")
    if tokenizer is not None and (example is not None or image_size is not None):
        raise ParameterError("example and image_size are for pictures, and a tokenizer for texts.")
    if isinstance(module, torch.nn.DataParallel):
        module = module.module
    module = getattr(
        module, "_orig_mod", module
    )  # of torch.compile: the exporters would compile for every shape first
    name = type(module).__name__
    source = f"torch module {name}"
    with frozen(module):
        if preprocess is not None:
            pictures = given_pictures(preprocess, image_size)
            inputs = _image_inputs(example, pictures.preprocess)
            network = _network(module, inputs, output_names)
            files = {CONFIG_NAME: pictures.config}
            return Original(name=name, source=source, network=network, inputs=inputs, files=files)
        texts = given_texts(tokenizer)
        words, limits = _vocabulary(texts.files[TOKENIZER_NAME]), texts.preprocess
        ids = TextInputs(words, limits.max_length, limits.pad_id)
        network = _network(module, ids, output_names)
        if pooling is not None:
            texts = given_texts(tokenizer, pooling, n_features=_width(network, ids))
        return Original(
            name=name,
            source=source,
            network=network,
            inputs=ids,
            files=texts.files,
            own_tokens=texts.own,
            notes=texts.notes,
        )


def _image_inputs(example: Any, preprocess: ImagePreprocess) -> ImageInputs:
    inputs = ImageInputs(preprocess)
    if example is None:
        return inputs
    size = inputs.size
    shape = tuple(example.shape) if isinstance(example, torch.Tensor | np.ndarray) else ()
    if len(shape) != 4 or shape[1] not in (1, 3) or shape[2:] != size:
        raise ParameterError(
            f"example must be a batch of pictures (n, 3, {size[0]}, {size[1]}), as the preprocessing makes them, got "
            f"{shape or type(example).__name__}."
        )
    return ImageInputs(preprocess, channels=shape[1])


def _network(
    module: torch.nn.Module, inputs: ImageInputs | TextInputs, output_names: Sequence[str] | None
) -> Network:
    keywords = inputs.names if inputs.names[0] in _parameters(module) else None
    probe = Network(module, (), keywords)
    values = [torch.from_numpy(array).to(probe.device) for array in inputs.example()]
    try:
        with torch.no_grad():
            made = named_tensors(probe.call(values))
    except ConversionError:
        raise
    except Exception as error:  # a module's own code may raise anything
        shapes = ", ".join(str(tuple(value.shape)) for value in values)
        reason = " ".join(str(error).split())
        raise ConversionError(
            f"{type(module).__name__} does not run on {' and '.join(inputs.names)} of shape {shapes} "
            f"({type(error).__name__}: {reason[:200]}). Give the "
            "preprocess, or the tokenizer, that it was trained with."
        ) from error
    keys = [key for key in _KNOWN if key in made] or list(made)
    if output_names is not None and len(output_names) != len(keys):
        raise ParameterError(
            f"output_names: {len(output_names)} for {len(keys)} outputs of the module ({', '.join(keys)})."
        )
    names = keys if output_names is None else output_names
    if not all(isinstance(name, str) and name for name in names) or len({*names, *inputs.names}) < len(
        names
    ) + len(inputs.names):
        raise ParameterError(
            f"output_names must be names, each given once and none of an input ({', '.join(inputs.names)}), got {list(names)}."
        )
    return Network(module, [Output(name, key) for name, key in zip(names, keys, strict=True)], keywords)


def _parameters(module: torch.nn.Module) -> Collection[str]:
    with suppress(ValueError):  # traced modules have no signature
        return inspect.signature(module.forward).parameters
    return ()


def _width(network: Network, inputs: TextInputs) -> int:
    """Length of a token's vector."""
    return int(next(iter(network.run(inputs.example()).values())).shape[-1])


def _vocabulary(tokenizer: bytes) -> int:
    """Ids that a ``tokenizer.json`` may give."""
    try:
        values = json.loads(tokenizer)
        added = [one["id"] for one in values.get("added_tokens", ())]
        return max([len(values["model"]["vocab"]), *(number + 1 for number in added)])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PreprocessError(
            f"the tokenizer is no {TOKENIZER_NAME} of Hugging Face ({error!r}). Save it with Tokenizer.save or save_pretrained."
        ) from error
