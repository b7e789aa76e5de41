"""From a checkpoint of transformers to what is exported: the network without a task's head, and its trained outputs.

A base model read from a checkpoint of another task may get layers that the checkpoint has no weights for (the pooler of a ViT
fine-tuned as a classifier); transformers fills those with chance. An output that depends on one of them is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import ConversionError, ParameterError
from featx.exporting.checkpoint import Checkpoint
from featx.exporting.inputs import ImageInputs, TextInputs
from featx.exporting.network import Network, Original, Output, named_tensors
from featx.exporting.pictures import CONFIG_NAME, ImageSize, given_pictures, pictures_of
from featx.exporting.texts import texts_of

__all__ = ["from_checkpoint"]

_MODALITIES = {"pixel_values": "image", "input_ids": "text"}
_TOWERS = {"image": "Vision", "text": "Text"}
_WHOLE = ("last_hidden_state", "pooler_output")
# One vector for a tower's sample, and what it is called in the graph.
_VECTORS = {"image_embeds": "image_embeds", "text_embeds": "sentence_embedding"}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A base model.

    ``model`` is what is exported, a part of ``whole`` where that has a decoder too; ``untrained`` are the weights of ``whole``
    that the checkpoint does not have.
    """

    model: torch.nn.Module
    whole: torch.nn.Module
    config: Any
    modality: str
    is_tower: bool
    untrained: tuple[str, ...]


def from_checkpoint(
    checkpoint: Checkpoint,
    *,
    preprocess: ImagePreprocess | Mapping[str, Any] | None = None,
    pooling: str | None = None,
    modality: str | None = None,
    image_size: ImageSize = None,
) -> Original:
    """The base model of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
    preprocess, pooling, modality, image_size
        See :func:`featx.export_backbone`.

    Raises
    ------
    ConversionError, PreprocessError, ParameterError
    """
    loaded = _load(checkpoint, modality)
    if loaded.modality == "image":
        if pooling is not None:
            raise ParameterError(
                f"pooling={pooling!r}: is for texts, and {checkpoint.source} takes pictures."
            )
        return _of_pictures(checkpoint, loaded, preprocess, image_size)
    if preprocess is not None or image_size is not None:
        raise ParameterError(
            f"preprocess and image_size are for pictures, and {checkpoint.source} takes texts."
        )
    return _of_texts(checkpoint, loaded, pooling)


def _load(checkpoint: Checkpoint, modality: str | None) -> _Loaded:
    from transformers import AutoConfig

    config = checkpoint.load(AutoConfig)
    is_tower = hasattr(config, "vision_config") and hasattr(config, "text_config")
    kind = _tower_class(checkpoint, config, modality or "image") if is_tower else _base_class(config)
    # Eager attention is what ONNX Runtime recognises best (MiniLM 1.06 times as fast as torch's fused one), and it gives an
    # empty text finite numbers.
    whole, told = checkpoint.load(
        kind,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    found = _MODALITIES.get(whole.main_input_name)
    if found is None or (modality is not None and found != modality):
        raise ParameterError(
            f"{checkpoint.source}: its {type(whole).__name__} takes {whole.main_input_name}; featx exports networks of pictures "
            f"(pixel_values) and of texts (input_ids){'' if modality is None else f', and modality={modality!r} was asked for'}."
        )
    has_decoder = found == "text" and getattr(whole.config, "is_encoder_decoder", False)
    model = whole.get_encoder() if has_decoder else whole
    untrained = tuple(sorted(told["missing_keys"]))
    return _Loaded(model, whole, whole.config, found, is_tower, untrained)


def _base_class(config: Any) -> Any:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    # Only the encoder's weights are read of a T5.
    if (
        getattr(config, "is_encoder_decoder", False)
        and config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    ):
        return transformers.AutoModelForTextEncoding
    return transformers.AutoModel


def _tower_class(checkpoint: Checkpoint, config: Any, modality: str) -> Any:
    """One tower of a network that has two (CLIP, SigLIP)."""
    import transformers

    stem = type(config).__name__.removesuffix("Config") + _TOWERS[modality] + "Model"
    kind = getattr(transformers, f"{stem}WithProjection", None) or getattr(transformers, stem, None)
    if kind is None:
        raise ConversionError(
            f"{checkpoint.source}: a {type(config).__name__} of pictures and texts, of which transformers has no {stem} to take "
            "alone. Take the part you want in Python and export that module."
        )
    return kind


def _of_pictures(
    checkpoint: Checkpoint,
    loaded: _Loaded,
    preprocess: ImagePreprocess | Mapping[str, Any] | None,
    image_size: ImageSize,
) -> Original:
    if preprocess is not None:
        pictures = given_pictures(preprocess, image_size)
    else:
        pictures = pictures_of(checkpoint, loaded.config, image_size)
    inputs = ImageInputs(pictures.preprocess, channels=getattr(loaded.config, "num_channels", 3))
    return Original(
        name=checkpoint.name,
        source=checkpoint.source,
        network=_network(checkpoint, loaded, inputs),
        inputs=inputs,
        files={CONFIG_NAME: pictures.config},
        own_pixels=pictures.own,
        revision=checkpoint.revision,
        licence=checkpoint.licence(),
        notes=pictures.notes,
    )


def _of_texts(checkpoint: Checkpoint, loaded: _Loaded, pooling: str | None) -> Original:
    config = loaded.config
    texts = texts_of(checkpoint, config, pooling, one_vector=loaded.is_tower)
    inputs = TextInputs(
        config.vocab_size,
        texts.preprocess.max_positions,
        pad_id=texts.preprocess.pad_id,
        end_id=config.eos_token_id if loaded.is_tower else None,
    )
    return Original(
        name=checkpoint.name,
        source=checkpoint.source,
        network=_network(checkpoint, loaded, inputs),
        inputs=inputs,
        files=texts.files,
        own_tokens=texts.own,
        revision=checkpoint.revision,
        licence=checkpoint.licence(),
        notes=texts.notes,
    )


def _network(checkpoint: Checkpoint, loaded: _Loaded, inputs: ImageInputs | TextInputs) -> Network:
    """The network with its trained outputs."""
    loaded.whole.eval()
    if getattr(loaded.config, "use_cache", False):
        loaded.config.use_cache = False
    probe = Network(loaded.model, (), inputs.names)
    try:
        with torch.set_grad_enabled(bool(loaded.untrained)):
            made = named_tensors(probe.call([torch.from_numpy(array) for array in inputs.example()]))
    except Exception as error:  # a network's code may raise anything
        reason = " ".join(str(error).split())
        raise ConversionError(
            f"{checkpoint.source}: its {type(loaded.model).__name__} does not run on what its own files say it takes "
            f"({reason[:200]})."
        ) from error
    outputs = _outputs(made, loaded.config)
    trained = [output for output in outputs if not _depends_on(output.take(made), loaded)]
    if not trained:
        raise ConversionError(
            f"{checkpoint.source}: lacks {len(loaded.untrained)} weights of its {type(loaded.whole).__name__}, such as "
            f"{loaded.untrained[0] if loaded.untrained else 'all'}, and transformers would fill them with chance. Is the "
            "checkpoint complete, and of that architecture?"
        )
    return Network(loaded.model, trained, inputs.names)


def _outputs(made: Mapping[str, torch.Tensor], config: Any) -> Sequence[Output]:
    """What of a base model's outputs makes a backbone."""
    for key, name in _VECTORS.items():
        if key in made:
            return (Output(name, key),)
    if "encoder_last_hidden_state" in made:  # DETR: what its decoder returns are objects, not the picture
        return (Output("last_hidden_state", "encoder_last_hidden_state"),)
    detection = getattr(config, "num_detection_tokens", 0)
    if detection:  # YOLOS: a class token that detection never trained, the patches, and a token an object
        return (Output("last_hidden_state", "last_hidden_state", 1, -detection),)
    return tuple(Output(name, name) for name in _WHOLE if name in made)


def _depends_on(output: torch.Tensor, loaded: _Loaded) -> bool:
    """Whether an output is computed from a weight that the checkpoint does not have."""
    weights = dict(loaded.whole.named_parameters())
    untrained = [weights[name] for name in loaded.untrained if name in weights]
    if not untrained or not output.requires_grad:
        return False
    gradients = torch.autograd.grad(output.sum(), untrained, allow_unused=True, retain_graph=True)
    return any(gradient is not None for gradient in gradients)
