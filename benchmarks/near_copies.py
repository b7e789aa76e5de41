"""Does featx find copies that were edited, and only these? How long does it take on 100,000 samples?

    python benchmarks/near_copies.py --sets covid_ct_small bccd_crops hymenoptera_small --backbones mobilenet_v2 compact
    python benchmarks/near_copies.py --texts
    python benchmarks/near_copies.py --speed 100000

Copies of real pictures are planted in groups of their own, every picture at most once and a tenth of them for each kind of
edit, and ``near_copies`` looks for them among all the others. Recall: planted copies that are found together with their
original. Precision: of the pairs that hold a planted copy, those of the copy and its original, or of pictures of the
original's own group, such as neighbouring slices, which a copy in another group makes a finding. Some pictures have
near-copies from the start, and a copy of one is a near-copy of the other: with these the precision is the second one. It is
worth what they are worth; with ``--sheet FILE`` they are drawn, to be looked at. Vectors alone: recall where samples are
known by their digests only.

Expected with both backbones: recall and precision of compressed and of scaled copies at least 0.95. Turned and heavily cropped
pictures and collages are there to show what is not found.

``--speed N`` takes the pictures of tiny_imagenet, planted copies among them, with vectors of one random layer, since time
does not depend on what vectors mean.
"""

from __future__ import annotations

import io
import random
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import SHARED, parser, report
from PIL import Image, ImageDraw, ImageEnhance

import featx
from featx.evaluation.near_copies import NearCopies, near_copies
from featx.inputs.samples import DigestSample
from featx.store.digest import digest_bytes, digest_file, digest_text, keys_array

Picture = Image.Image
PICTURE_EDITS: dict[str, Callable[[Picture, random.Random], Picture]] = {
    "jpeg 50 to 90": lambda picture, _: picture,
    "resize to 70 %": lambda picture, _: picture.resize(_scaled(picture, 0.7), Image.Resampling.BICUBIC),
    "crop 5 % in all": lambda picture, draw: _cropped(picture, 0.05, draw.random(), draw.random()),
    "crop 5 % of each edge": lambda picture, _: _cropped(picture, 0.1, 0.5, 0.5),
    "brightness 15 %": lambda picture, draw: ImageEnhance.Brightness(picture).enhance(
        draw.choice((0.85, 1.15))
    ),
    "flip": lambda picture, _: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "crop 10 % of each edge": lambda picture, _: _cropped(picture, 0.2, 0.5, 0.5),
    "crop 20 % of each edge": lambda picture, _: _cropped(picture, 0.4, 0.5, 0.5),
    "turn by 5 degrees": lambda picture, _: picture.rotate(5),
    "collage": lambda picture, _: _collage(picture),
}
WORDS = ("delay", "window", "breakfast", "winter", "simply", "tomorrow", "yellow", "station", "very", "music")
TEXT_EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "upper case": lambda text, _: text.upper(),
    "link": lambda text, draw: f"{text} http://t.co/{draw.getrandbits(40):x}",
    "hashtag": lambda text, draw: f"{text} #{draw.choice(WORDS)}",
    "RT @name:": lambda text, draw: f"RT @{draw.choice(WORDS)}: {text}",
    "one word changed": lambda text, draw: _changed(text, draw),
    "two words changed": lambda text, draw: _changed(_changed(text, draw), draw),
    "second half left out": lambda text, _: " ".join(text.split()[: (len(text.split()) + 1) // 2]),
}


def main() -> None:
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("--sets", nargs="*", default=[], help="image sets below the test material's data")
    arguments.add_argument(
        "--backbones", nargs="*", default=["compact"], help="names, or folders below its weights"
    )
    arguments.add_argument("--texts", action="store_true", help="edited tweets")
    arguments.add_argument("--speed", type=int, default=0, help="number of samples")
    arguments.add_argument(
        "--sheet", type=Path, help="draw the pairs found that were not planted, one PNG a set and backbone"
    )
    options = arguments.parse_args()
    figures: dict[str, Any] = {}
    for name in options.sets:
        for backbone in options.backbones:
            figures[f"{name}, {backbone}"] = planted_pictures(name, backbone, options.rounds, options.sheet)
    if options.texts:
        figures["airline_tweets, minilm"] = planted_texts(options.rounds)
    if options.speed:
        figures[f"{options.speed:,} pictures"] = speed(options.speed)
    options.sheet = None  # a place of this machine
    report(__file__, options, figures)


def planted_pictures(name: str, backbone: str, rounds: int, sheet: Path | None) -> dict[str, Any]:
    """Recall and precision a kind of edit."""
    data = featx.read_dataset(SHARED / "data" / name)
    folder = SHARED / "weights" / backbone
    features = featx.ImageFeatures(folder if folder.is_dir() else backbone, verbose=True)
    vectors = features.fit_transform(data.samples)
    keys = keys_array(digest_file(path) for path in data.samples)
    groups = [f"sample {i}" for i in range(len(data))] if data.groups is None else list(data.groups)
    there = near_copies(vectors, data.samples, modality="image", keys=keys, groups=groups)
    counts, unseen = _nothing(PICTURE_EDITS), _nothing(PICTURE_EDITS)
    seconds = []
    for seed in range(rounds):
        draw = random.Random(seed)
        plan = list(_plan(len(data), list(PICTURE_EDITS), draw))
        copies = [_edited(data.samples[i], kind, draw) for i, kind in plan]
        with_copies = np.concatenate([vectors, features.transform(copies)])
        with_keys = np.concatenate([keys, keys_array(map(digest_bytes, copies))])
        with_groups = [*groups, *(f"planted {i}" for i in range(len(copies)))]
        started_s = time.perf_counter()
        found = near_copies(
            with_copies, [*data.samples, *copies], modality="image", keys=with_keys, groups=with_groups
        )
        seconds.append(time.perf_counter() - started_s)
        _count(found, plan, there, groups, counts)
        alone = near_copies(
            with_copies,
            [DigestSample(key.tobytes()) for key in with_keys],
            modality="image",
            keys=with_keys,
            groups=with_groups,
        )
        _count(alone, plan, there, groups, unseen)
    if sheet is not None:
        _draw(there, data, sheet.with_stem(f"{sheet.stem}-{name}-{backbone}"))
    result = _rates(counts)
    for kind, (planted, hits, *_) in unseen.items():
        result[kind]["vectors alone"] = round(hits / planted, 3)
    result["pairs that were there"] = len(there)
    result["seconds"] = round(float(np.median(seconds)), 1)
    _print(f"{name}, {backbone}", result)
    return result


def planted_texts(rounds: int) -> dict[str, Any]:
    """The same of tweets; a tenth of them, since most of the time is their embedding."""
    data = featx.read_dataset(SHARED / "data" / "airline_tweets" / "airline_tweets.csv")
    features = featx.TextFeatures(verbose=True)
    vectors = features.fit_transform(data.samples)
    keys = keys_array(map(digest_text, data.samples))
    assert data.groups is not None
    there = near_copies(vectors, data.samples, modality="text", keys=keys, groups=data.groups)
    counts = _nothing(TEXT_EDITS)
    long = [i for i, text in enumerate(data.samples) if len(text.split()) >= 8]
    for seed in range(rounds):
        draw = random.Random(seed)
        plan = [(long[i], kind) for i, kind in _plan(len(long), list(TEXT_EDITS), draw, share=0.1)]
        copies = [TEXT_EDITS[kind](data.samples[i], draw) for i, kind in plan]
        found = near_copies(
            np.concatenate([vectors, features.transform(copies)]),
            [*data.samples, *copies],
            modality="text",
            keys=np.concatenate([keys, keys_array(map(digest_text, copies))]),
            groups=[*data.groups, *(f"planted {i}" for i in range(len(copies)))],
        )
        _count(found, plan, there, list(data.groups), counts)
    result = _rates(counts)
    result["pairs that were there"] = len(there)
    _print("airline_tweets, minilm", result)
    return result


def speed(n: int) -> dict[str, Any]:
    """Seconds and memory for many small photographs."""
    pictures = _many(n)
    draw = random.Random(0)
    n_planted = n - len(pictures) if n > len(pictures) else n // 10
    pictures = pictures[: n - n_planted]
    sources = draw.choices(range(len(pictures)), k=n_planted)
    kinds = list(PICTURE_EDITS)[:6]
    plan = [(i, draw.choice(kinds)) for i in sources]
    samples = pictures + [_edited(pictures[i], kind, draw) for i, kind in plan]
    vectors = _random_vectors(samples)
    keys = keys_array(map(digest_bytes, samples))
    before_bytes = _peak_bytes()
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    found = near_copies(vectors, samples, modality="image", keys=keys, verbose=True)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    together = found.clusters[[i for i, _ in plan]] == found.clusters[len(pictures) :]
    result = {
        "seconds": round(seconds),
        "processor seconds": round(cpu_s),
        "peak above the input, MB": round((_peak_bytes() - before_bytes) / 1e6),
        "pairs": len(found),
        "largest cluster": int(np.bincount(found.clusters).max()),
        "recall": {kind: round(float(together[[k == kind for _, k in plan]].mean()), 3) for kind in kinds},
    }
    print(f"{n:,} pictures: {result}")
    return result


def _plan(n: int, kinds: Sequence[str], draw: random.Random, share: float = 1.0) -> Iterator[tuple[int, str]]:
    """Which sample is copied with which edit; each at most once."""
    order = draw.sample(range(n), n)
    each = int(n * share) // len(kinds)
    for at, kind in enumerate(kinds):
        yield from ((i, kind) for i in order[at * each : (at + 1) * each])


def _nothing(kinds: Iterable[str]) -> dict[str, list[int]]:
    return {kind: [0, 0, 0, 0, 0] for kind in kinds}


def _count(
    found: NearCopies,
    plan: Sequence[tuple[int, str]],
    there: NearCopies,
    groups: Sequence[str],
    counts: dict[str, list[int]],
) -> None:
    """Add up a kind: planted, found, pairs with a planted copy, right ones, and right ones with those that were there."""
    n = len(groups)
    known = set(map(tuple, there.pairs.tolist()))
    for pair in found.pairs.tolist():
        sources = sorted(i if i < n else plan[i - n][0] for i in pair)
        right = sources[0] == sources[1] or groups[sources[0]] == groups[sources[1]]
        for i in pair:
            if i >= n:
                of_kind = counts[plan[i - n][1]]
                of_kind[1] += sources[0] == sources[1]  # every picture is copied once
                of_kind[2] += 1
                of_kind[3] += right
                of_kind[4] += right or tuple(sources) in known
    for _, kind in plan:
        counts[kind][0] += 1


def _rates(counts: dict[str, list[int]]) -> dict[str, Any]:
    return {
        kind: {
            "planted": planted,
            "recall": round(hits / planted, 3),
            "precision": round(right / pairs, 3) if pairs else None,
            "with those there": round(known / pairs, 3) if pairs else None,
        }
        for kind, (planted, hits, pairs, right, known) in counts.items()
    }


def _print(title: str, result: dict[str, Any]) -> None:
    rates = {kind: figures for kind, figures in result.items() if isinstance(figures, dict)}
    names = list(next(iter(rates.values())))
    print(f"\n{title}\n{'edit':26}" + "".join(f"{name:>18}" for name in names))
    for kind, figures in rates.items():
        print(
            f"{kind:26}" + "".join(f"{'-' if figures[name] is None else figures[name]:>18}" for name in names)
        )
    print(
        *(f"{name}: {figure}" for name, figure in result.items() if name not in rates), sep="; ", flush=True
    )


def _edited(source: str | bytes, kind: str, draw: random.Random) -> bytes:
    """A copy, encoded anew: at quality 50 to 90 where that is the edit, else at 90."""
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
        picture = PICTURE_EDITS[kind](opened.convert("RGB"), draw)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=draw.randint(50, 90) if kind.startswith("jpeg") else 90)
    return file.getvalue()


def _scaled(picture: Picture, factor: float) -> tuple[int, int]:
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))


def _cropped(picture: Picture, share: float, left: float, top: float) -> Picture:
    """Without ``share`` of the width and of the height, of which ``left`` and ``top`` are taken at these edges."""
    width, height = picture.size
    x, y = round(width * share * left), round(height * share * top)
    return picture.crop(
        (x, y, x + max(1, round(width * (1 - share))), y + max(1, round(height * (1 - share))))
    )


def _collage(picture: Picture) -> Picture:
    both = Image.new("RGB", (2 * picture.width, picture.height), "white")
    both.paste(picture, (0, 0))
    both.paste(picture.transpose(Image.Transpose.ROTATE_180), (picture.width, 0))
    return both


def _changed(text: str, draw: random.Random) -> str:
    words = text.split()
    words[draw.randrange(len(words))] = draw.choice(WORDS)
    return " ".join(words)


def _many(n: int) -> list[bytes]:
    """Up to `n` encoded photographs of 64 x 64 pixels."""
    pictures: list[bytes] = []
    for name in ("tiny_imagenet_199.zip", "tiny_imagenet_199_more.zip"):
        with zipfile.ZipFile(SHARED / "data" / name) as archive:
            members = [member for member in archive.namelist() if member.endswith(".webp")]
            pictures += [archive.read(member) for member in members[: n - len(pictures)]]
    return pictures


def _random_vectors(samples: Sequence[bytes]) -> np.ndarray:
    """One random layer with ReLU on 12 x 12 colour pixels, (n, 1280) float32."""
    layer = np.random.default_rng(0).standard_normal((12 * 12 * 3, 1280), dtype=np.float32) / 20
    rows = np.empty((len(samples), 1280), dtype=np.float32)
    for i, sample in enumerate(samples):
        with Image.open(io.BytesIO(sample)) as picture:
            pixels = np.asarray(
                picture.convert("RGB").resize((12, 12), Image.Resampling.BILINEAR), dtype=np.float32
            )
        rows[i] = np.maximum((pixels.ravel() / 255 - 0.5) @ layer, 0)
    return rows


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _draw(found: NearCopies, data: featx.Dataset, path: Path) -> None:
    """Pairs beside each other, the surest first, 160 pixels a picture."""
    side, columns = 160, 4
    shown = found.pairs[:100]
    sheet = Image.new(
        "RGB", (columns * (2 * side + 12), -(-len(shown) // columns) * (side + 18) + 1), "white"
    )
    pen = ImageDraw.Draw(sheet)
    for at, pair in enumerate(shown.tolist()):
        x, y = at % columns * (2 * side + 12), at // columns * (side + 18)
        pen.text((x, y), f"{found.agreement[at]:.3f}", fill="black")
        for place, i in enumerate(pair):
            with Image.open(data.samples[i]) as picture:
                sheet.paste(picture.convert("RGB").resize((side, side)), (x + place * side, y + 14))
    sheet.save(path)


if __name__ == "__main__":
    main()
