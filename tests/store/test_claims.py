"""Claims: no key has two living claimants, and a dead one's keys are free."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.store import claims, disk
from featx.store.digest import Keys
from featx.store.store import EmbeddingStore

MakeKeys = Callable[..., Keys]

CLAIMANT = """
import sys, time
import numpy as np
from featx.store.store import EmbeddingStore
claim = EmbeddingStore(sys.argv[1]).claim("space", np.load(sys.argv[2]))
print(int(claim.mine.sum()), flush=True)
time.sleep(60)
"""


@pytest.fixture
def twin(store: EmbeddingStore) -> EmbeddingStore:
    """A second store in this process on the same folder."""
    return EmbeddingStore(store.root)


def claim_files(store: EmbeddingStore) -> list[Path]:
    return list((store.root / "space" / "claims").iterdir())


def test_every_missing_key_has_one_claimant(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(10)
    store.put("space", keys[:2], np.zeros((2, 3), np.float32))
    with store.claim("space", keys[:6]) as one, twin.claim("space", keys) as two:
        assert one.mine.tolist() == [False] * 2 + [True] * 4
        assert two.mine.tolist() == [False] * 6 + [True] * 4
        assert two.taken.tolist() == [False] * 2 + [True] * 4 + [False] * 4


def test_a_key_given_twice_is_claimed_once(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    keys = make_keys(3)
    with store.claim("space", keys[[0, 1, 0, 2, 1]]) as claim:
        assert claim.mine.tolist() == [True, True, False, True, False]
    assert claim.wait(timeout_s=0)


def test_a_released_claim_is_free_and_leaves_no_file(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(4)
    with store.claim("space", keys):
        assert len(claim_files(store)) == 1
    assert claim_files(store) == []
    with twin.claim("space", keys) as claim:
        assert claim.mine.all()


def test_claims_of_different_keys_do_not_wait_for_each_other(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(8)
    with store.claim("space", keys[:4]), twin.claim("space", keys[4:]) as claim:
        assert claim.mine.all()
        assert claim.wait(timeout_s=0)


def test_waiting_ends_when_the_other_is_done(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(4)
    other = store.claim("space", keys)
    with twin.claim("space", keys) as claim:
        assert not claim.mine.any()
        assert not claim.wait(timeout_s=0.02)
        threading.Timer(0.05, other.release).start()
        assert claim.wait(timeout_s=10)


def test_two_who_want_each_others_keys_do_not_wait_in_a_circle(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(4)
    one_first, two_first = store.claim("space", keys[:2]), twin.claim("space", keys[2:])
    one, two = store.claim("space", keys), twin.claim("space", keys)
    done = []

    def finish(first: claims.Claim, second: claims.Claim) -> None:
        second.release()
        done.append(first.wait(timeout_s=10) and second.wait(timeout_s=10))

    threads = [
        threading.Thread(target=finish, args=(one_first, one)),
        threading.Thread(target=finish, args=(two_first, two)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True, True]


def test_waiting_gives_up_ones_own_claim_first(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(4)
    with store.claim("space", keys) as claim:
        claim.wait()
        with twin.claim("space", keys) as other:
            assert other.mine.all()


def test_a_killed_claimants_keys_are_free_at_once(
    store: EmbeddingStore, tmp_path: Path, make_keys: MakeKeys
) -> None:
    keys = make_keys(5)
    np.save(tmp_path / "keys.npy", keys)
    arguments = [sys.executable, "-c", CLAIMANT, str(store.root), str(tmp_path / "keys.npy")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as claimant:
        assert claimant.stdout is not None
        assert claimant.stdout.readline().strip() == b"5"
        with store.claim("space", keys) as claim:
            assert not claim.mine.any()
            assert not claim.wait(timeout_s=0.02)
            claimant.kill()
            claimant.wait()
            assert claim.wait(timeout_s=0)
        with store.claim("space", keys) as claim:
            assert claim.mine.all()
        assert claim_files(store) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_does_not_end_its_parents_claim(
    store: EmbeddingStore, tmp_path: Path, make_keys: MakeKeys
) -> None:
    np.save(tmp_path / "keys.npy", make_keys(3))
    script = f"""
import os
import numpy as np
from featx.store.store import EmbeddingStore
store, keys = EmbeddingStore({str(store.root)!r}), np.load({str(tmp_path / "keys.npy")!r})
with store.claim("space", keys) as claim:
    child = os.fork()
    if child == 0:
        claim.release()
        os._exit(0 if not store.claim("space", keys).mine.any() else 1)
    assert os.waitpid(child, 0)[1] == 0, "the child does not see its parent's claim"
    assert not EmbeddingStore(store.root).claim("space", keys).mine.any(), "the child ended it"
assert store.claim("space", keys).mine.all()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_without_locks_everything_missing_is_the_callers(
    store: EmbeddingStore, twin: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_STORE_LOCKS", "0")
    keys = make_keys(6)
    store.put("space", keys[:1], np.zeros((1, 3), np.float32))
    with store.claim("space", keys) as one, twin.claim("space", keys) as two:
        assert one.mine.tolist() == two.mine.tolist() == [False] + [True] * 5
        assert one.wait(timeout_s=0)
        assert two.wait(timeout_s=0)


def test_a_full_disk_costs_the_claim_not_the_work(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    keys = make_keys(3)
    store.describe("space", {})
    monkeypatch.setattr(os, "write", no_room)
    with store.claim("space", keys) as claim:
        assert claim.mine.all()
    assert claim_files(store) == []


def test_a_store_that_cannot_be_written_is_claimed_from_all_the_same(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(3)
    store.put("space", keys[:1], np.zeros((1, 3), np.float32))
    (store.root / "space" / "mutex.lock").unlink()
    real_open = os.open

    def refuse_writing(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return real_open(path, flags, *args, **kwargs)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(os, "open", refuse_writing)
    with store.claim("space", keys) as claim:
        assert claim.mine.tolist() == [False, True, True]
    assert disk.TEMPORARY not in "".join(os.listdir(store.root / "space"))


def test_live_claims_of_a_space_are_seen(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    folder = store.root / "space"
    assert not claims.has_live_claims(folder)
    with store.claim("space", make_keys(2)):
        assert claims.has_live_claims(folder)
    assert not claims.has_live_claims(folder)
