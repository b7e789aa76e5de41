"""The store held to a dict: put, get, merge, forget, crash, reopen, a second instance, a second process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from featx.store import segments
from featx.store.digest import Keys
from featx.store.store import EmbeddingStore

SPACE = "space"
N_KEYS = 24
D = 3

some_keys = st.lists(st.integers(0, N_KEYS - 1), max_size=10)

# A process of its own that puts and gets at our word, one JSON line a request: ["put", numbers, values] or
# ["get", numbers].
OTHER = """
import json, os, sys
import numpy as np
from featx.store.store import EmbeddingStore
os.fsync = lambda fd: None
every = np.frombuffer(bytes.fromhex(sys.argv[1]), np.uint8).reshape(-1, 16)
for line in sys.stdin:
    root, what, numbers, values = json.loads(line)
    store = EmbeddingStore(root)
    keys = every[np.array(numbers, int)]
    if what == "put":
        store.put("space", keys, np.repeat(np.array(values, np.float32)[:, None], 3, axis=1))
        print("[]", flush=True)
    else:
        rows, found = store.get("space", keys)
        print(json.dumps([rows[:, 0].tolist() if len(rows) else [], found.tolist()]), flush=True)
"""


def every_key() -> Keys:
    """Distinct keys, half of which share their first eight bytes with another."""
    keys = np.random.default_rng(0).integers(0, 256, (N_KEYS, 16), dtype=np.uint8)
    keys[1::4, :8] = keys[::4, :8]
    return keys


class Crash(BaseException):
    """Ends a put as a killed process would: nothing after it runs."""


class StoreMachine(RuleBasedStateMachine):
    """Rows are numbers, given out in order, so that each says which put it came from."""

    other: subprocess.Popen[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.keys = every_key()
        self.model: dict[int, float] = {}
        self.next_value = 0.0
        self.patches = [
            mock.patch.object(os, "fsync"),
        ]
        for patch in self.patches:
            patch.start()
        self.stores = [self.open(), self.open()]

    def open(self) -> EmbeddingStore:
        return EmbeddingStore(self.folder / "store")

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def values(self, numbers: list[int]) -> np.ndarray:
        """A new value for each row."""
        values = self.next_value + np.arange(len(numbers), dtype=np.float32)
        self.next_value += len(numbers)
        return values

    def note_put(self, numbers: list[int], values: np.ndarray) -> None:
        for number, value in zip(numbers, values.tolist(), strict=True):
            self.model.setdefault(number, value)

    @initialize(mapped=st.booleans())
    def choose_whether_segments_are_mapped(self, mapped: bool) -> None:
        patch = mock.patch.object(segments, "SMALL_BYTES", 0 if mapped else 1 << 20)
        patch.start()
        self.patches.append(patch)

    @rule(which=st.integers(0, 1), numbers=some_keys)
    def put(self, which: int, numbers: list[int]) -> None:
        values = self.values(numbers)
        self.stores[which].put(SPACE, self.keys[numbers], np.repeat(values[:, None], D, axis=1))
        self.note_put(numbers, values)

    @rule(which=st.integers(0, 1), numbers=some_keys)
    def get(self, which: int, numbers: list[int]) -> None:
        rows, found = self.stores[which].get(SPACE, self.keys[numbers])
        assert found.tolist() == [number in self.model for number in numbers]
        if found.any():
            expected = [self.model[number] for number in numbers if number in self.model]
            assert rows.tolist() == [[value] * D for value in expected]

    @rule(numbers=some_keys)
    def put_by_another_process(self, numbers: list[int]) -> None:
        values = self.values(numbers)
        self.ask("put", numbers, values.tolist())
        self.note_put(numbers, values)

    @rule(numbers=some_keys)
    def get_by_another_process(self, numbers: list[int]) -> None:
        rows, found = self.ask("get", numbers, [])
        assert found == [number in self.model for number in numbers]
        assert rows == [self.model[number] for number in numbers if number in self.model]

    def ask(self, what: str, numbers: list[int], values: list[float]) -> list[list[float]]:
        assert self.other.stdin is not None
        assert self.other.stdout is not None
        self.other.stdin.write(json.dumps([str(self.folder / "store"), what, numbers, values]) + "\n")
        self.other.stdin.flush()
        answer: list[list[float]] = json.loads(self.other.stdout.readline())
        return answer

    @rule(which=st.integers(0, 1))
    def merge(self, which: int) -> None:
        self.stores[which].merge(SPACE)

    @rule(which=st.integers(0, 1), numbers=some_keys)
    def forget(self, which: int, numbers: list[int]) -> None:
        n_removed = self.stores[which].forget(SPACE, self.keys[numbers])
        assert n_removed == len({number for number in numbers if number in self.model})
        for number in numbers:
            self.model.pop(number, None)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which] = self.open()

    @rule(numbers=some_keys.filter(bool), n_steps=st.integers(0, 8))
    def crash_while_putting(self, numbers: list[int], n_steps: int) -> None:
        """A put that ends after so many writes and renames leaves all of its rows or none."""
        values = self.values(numbers)
        missing = [number for number in numbers if number not in self.model]
        self.crash(n_steps, lambda store: store.put(SPACE, self.keys[numbers], values[:, None].repeat(D, 1)))
        stored = self.open().get(SPACE, self.keys[missing])[1] if missing else np.zeros(0, bool)
        assert stored.all() or not stored.any()
        if stored.any():
            self.note_put(numbers, values)

    @rule(n_steps=st.integers(0, 8))
    def crash_while_merging(self, n_steps: int) -> None:
        self.crash(n_steps, lambda store: store.merge(SPACE))

    def crash(self, n_steps: int, work: object) -> None:
        left = n_steps

        def counted(function: object) -> object:
            def step(*args: object, **kwargs: object) -> object:
                nonlocal left
                if left == 0:
                    raise Crash
                left -= 1
                return function(*args, **kwargs)  # type: ignore[operator]  # os.write, os.rename or os.unlink

            return step

        with (
            mock.patch.object(os, "write", counted(os.write)),
            mock.patch.object(os, "rename", counted(os.rename)),
            mock.patch.object(os, "replace", counted(os.replace)),
            mock.patch.object(os, "unlink", counted(os.unlink)),
        ):
            try:
                work(self.open())  # type: ignore[operator]  # a function of a store
            except Crash:
                left = 0

    @rule(days=st.sampled_from([0, 2]))
    def repair(self, days: int) -> None:
        """After two days, leftovers and replaced segments go."""
        then = time.time() - days * 86400
        for path in (self.folder / "store").glob("*/*"):
            os.utime(path, (then, then))
        assert self.open().verify(repair=True).ok
        if days and (self.folder / "store" / SPACE).exists():
            listing = segments.list_folder(self.folder / "store" / SPACE)
            assert (listing.replaced, listing.strays) == ((), ())

    @precondition(lambda self: self.model)
    @invariant()
    def all_rows_are_there_for_a_new_reader(self) -> None:
        numbers = list(range(N_KEYS))
        rows, found = self.open().get(SPACE, self.keys)
        assert found.tolist() == [number in self.model for number in numbers]
        assert rows[:, 0].tolist() == [self.model[number] for number in numbers if number in self.model]


@pytest.mark.skipif(sys.platform == "win32", reason="a crash is simulated with POSIX semantics of open files")
def test_a_store_behaves_like_a_dict() -> None:
    arguments = [sys.executable, "-c", OTHER, every_key().tobytes().hex()]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as StoreMachine.other:
        machine = settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        StoreMachine.TestCase.settings = machine
        StoreMachine.TestCase().runTest()
        assert StoreMachine.other.stdin is not None
        StoreMachine.other.stdin.close()
