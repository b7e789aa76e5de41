"""Tiny seeded checkpoints of transformers, one an architecture, and what featx exports of them; each is made once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
transformers = pytest.importorskip("transformers", minversion="5.0")

LAYERS = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
WORDS += [
    "the",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    "far",
    "away",
    "over",
    "hills",
    ".",
    "!",
    "##s",
    "##ing",
]
WORDS += [f"w{i}" for i in range(60)]


def pictures() -> dict[str, tuple[Any, Any, int]]:
    """Name to (configuration, image processor, edge of its pictures)."""
    t = transformers

    def cropped(kind: str, edge: int) -> Any:
        size = {"shortest_edge": edge + 8}
        return getattr(t, f"{kind}ImageProcessorPil")(size=size, crop_size={"height": edge, "width": edge})

    def exact(kind: str, height: int, width: int) -> Any:
        return getattr(t, f"{kind}ImageProcessorPil")(size={"height": height, "width": width})

    convnext = t.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875)
    narrow = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    efficientnet = t.EfficientNetConfig(
        image_size=64, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320
    )
    return {
        "resnet": (t.ResNetConfig(**narrow), convnext, 64),
        "efficientnet": (efficientnet, exact("EfficientNet", 64, 64), 64),
        "mobilenet_v2": (
            t.MobileNetV2Config(depth_multiplier=0.35, image_size=64),
            cropped("MobileNetV2", 64),
            64,
        ),
        "convnext": (
            t.ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], image_size=64),
            convnext,
            64,
        ),
        "vit": (t.ViTConfig(**LAYERS, image_size=64), exact("ViT", 64, 64), 64),
        "dinov2": (t.Dinov2Config(**LAYERS, image_size=56, patch_size=14), cropped("Bit", 56), 56),
        "dinov2_with_registers": (
            t.Dinov2WithRegistersConfig(**LAYERS, image_size=56, patch_size=14, num_register_tokens=4),
            cropped("Bit", 56),
            56,
        ),
        "clip": (
            t.CLIPConfig(
                vision_config={**LAYERS, "image_size": 64, "patch_size": 16, "projection_dim": 24},
                text_config={**LAYERS, "vocab_size": len(WORDS), "max_position_embeddings": 24}
                | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "projection_dim": 24},
                projection_dim=24,
            ),
            cropped("CLIP", 64),
            64,
        ),
        "yolos": (
            t.YolosConfig(**LAYERS, image_size=[48, 64], num_detection_tokens=5),
            t.YolosImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 96}),
            48,
        ),
    }


def texts() -> dict[str, Any]:
    """Name to configuration."""
    t = transformers
    size = {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0}
    t5 = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}
    return {
        "bert": t.BertConfig(**LAYERS, **size),
        "distilbert": t.DistilBertConfig(**size, dim=32, hidden_dim=64, n_layers=2, n_heads=4),
        "roberta": t.RobertaConfig(**LAYERS, **size),
        "gpt2": t.GPT2Config(vocab_size=len(WORDS), **gpt2, bos_token_id=1, eos_token_id=2),
        "t5": t.T5Config(vocab_size=len(WORDS), **t5),
    }


# Variance times fan-in of the weights of convolutional networks: from less the activations vanish, from more they saturate, and
# then float32 roundings grow tenfold with every few layers. The gates of squeeze-and-excitation halve what passes them.
GAINS = {"efficientnet": 2.5, "mobilenet_v2": 1.5, "resnet": 1.5}


def trained(model: Any, gain: float | None) -> Any:
    """A model with seeded norms and biases that show when they are lost; weights are transformers' own where no gain is given."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            drawn = torch.rand(value.shape, generator=generator)
            if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.copy_(drawn + 0.5)
            elif value.ndim <= 1:
                value.copy_(0.2 * (drawn - 0.5))
            elif gain is not None:
                value.copy_((drawn - 0.5) * (12 * gain / value[0].numel()) ** 0.5)
    return model.eval()


def tokenizer() -> Any:
    """A word-piece tokenizer of ``WORDS`` that puts [CLS] and [SEP] around a text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


def quietly(call: Callable[[], Any]) -> Any:
    """The result of a call of transformers, without its bars and advice."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return call()
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """For networks this small, threads that wait for work take more of a busy machine than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def words() -> list[str]:
    """The vocabulary of :func:`tokenizer`, in the order of its ids."""
    return list(WORDS)


@pytest.fixture
def tiny_tokenizer() -> Any:
    return tokenizer()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from an architecture's name to a folder with its configuration, weights and processor or tokenizer."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(name: str) -> Path:
        folder = root / name
        if folder.is_dir():
            return folder
        if name in pictures():
            config, processor, _ = pictures()[name]
            processor.save_pretrained(folder)
        else:
            config = texts()[name]
        if name in texts() or name == "clip":
            tokenizer().save_pretrained(folder)
        torch.manual_seed(0)
        model = trained(transformers.AutoModel.from_config(config), GAINS.get(name))
        quietly(lambda: model.save_pretrained(folder))
        return folder

    return make


@pytest.fixture(scope="session")
def exported(
    checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """A function from an architecture's name, and options of the export, to the backbone's folder."""
    from featx import export_backbone

    root = tmp_path_factory.mktemp("exported")

    def make(name: str, **options: Any) -> Path:
        folder = root / "-".join([name, *(f"{key}_{value}" for key, value in sorted(options.items()))])
        return folder if folder.is_dir() else export_backbone(str(checkpoint(name)), folder, **options)

    return make
