"""A hub that refuses or does not answer: what is said, and that a token goes to nobody else."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import pytest

from featx.backbones.hub import fetch
from featx.backbones.hub_layout import HubReference
from featx.backbones.sources import locate
from featx.errors import (
    BackboneNotFoundError,
    HubUnreachableError,
)


def get(text: str, **options: Any) -> Any:
    return fetch(HubReference.parse(text), **options)


def test_a_private_repository_is_read_with_the_token(
    published: Any, fake_hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.repositories["owner/net"].access = "private"
    with pytest.raises(BackboneNotFoundError, match="no such repository, or a private one") as raised:
        get("hub:owner/net")
    assert "HF_TOKEN" in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
    assert get("hub:owner/net").model_path.is_file()
    assert published.tokens_at_cdn
    assert set(published.tokens_at_cdn) == {None}, "the token was sent to another host"


def test_a_gated_repository_says_where_its_terms_are(
    published: Any, fake_hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.repositories["owner/net"].access = "gated"
    with pytest.raises(
        BackboneNotFoundError, match=rf"{published.url}/owner/net, accept the terms .* HF_TOKEN"
    ):
        get("hub:owner/net")
    monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
    with pytest.raises(BackboneNotFoundError, match="your token has no access to it yet"):
        get("hub:owner/net")
    published.repositories["owner/net"].readers = {fake_hub.TOKEN}
    assert get("hub:owner/net").model_path.is_file()


def test_a_token_that_does_not_count(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(BackboneNotFoundError, match="does not accept the access token"):
        get("hub:owner/net")


def test_an_unknown_repository_may_be_a_misspelt_one(hub: Any) -> None:
    with pytest.raises(BackboneNotFoundError, match="Did you mean 'Xenova/resnet-50'"):
        get("hub:xenova/resnet50")


def test_an_unknown_revision(published: Any) -> None:
    with pytest.raises(BackboneNotFoundError, match="no branch, tag or commit 'v9'"):
        get("hub:owner/net@v9")


def test_without_a_network_the_error_says_what_to_do(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    began_s = time.monotonic()
    with pytest.raises(HubUnreachableError, match="the hub does not answer") as raised:
        locate("hub:owner/net")
    assert time.monotonic() - began_s < 5
    assert "featx backbones pull hub:owner/net --to FOLDER" in str(raised.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE forbids"):
        locate("hub:owner/net")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_not_well(published: Any, status: int) -> None:
    published.status = status
    with pytest.raises(HubUnreachableError, match=str(status)):
        get("hub:owner/net")
