"""What is a reference to a repository of a hub, and what is none."""

from __future__ import annotations

import pytest

from featx.backbones.hub_layout import HubReference
from featx.backbones.sources import locate
from featx.errors import (
    ParameterError,
)


@pytest.mark.parametrize(
    "text",
    [
        "hub:",
        "hub:/net",
        "hub:owner/",
        "hub:a/b/c",
        "hub:owner/net@",
        "hub:owner/net#",
        "hub:../../etc",
        "hub:o n/x",
        "hub:\u043ewner/net",
        "hub:owner/net@../../etc",
        "hub:owner/net@/etc",
        "hub:owner/net@a b",
        "hub:owner/net@--upload",
        "hub:owner/net@v1/",
        "hub:owner/net@v1\n",
        "hub:owner/net#../secret.onnx",
        "hub:owner/net#/etc/passwd",
        "hub:owner/net#C:\\net.onnx",
        "hub:owner/net#a\x00b",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="expected hub:owner/name"):
        locate(text)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "feature/x_y", "1", "a@b", "v1.0+cpu"])
def test_revisions_are_what_git_calls_branches_and_tags(revision: str) -> None:
    assert HubReference.parse(f"hub:owner/net@{revision}").revision == revision
