"""Fitted pictures are kept by the digest of their content, up to a budget."""

from __future__ import annotations

import numpy as np

from featx.inference.fitted_pixels import FittedPixels


def test_pictures_are_kept_until_the_budget_is_spent() -> None:
    picture = np.zeros((10, 10, 3), dtype=np.uint8)
    fitted = FittedPixels(2 * picture.nbytes)
    for key in (b"a", b"b", b"b", b"c"):
        fitted.put(key, picture)
    assert [fitted.get(key) is picture for key in (b"a", b"b", b"c")] == [True, True, False]
    fitted.clear()
    assert fitted.get(b"a") is None
    fitted.put(b"c", picture)
    assert fitted.get(b"c") is picture
