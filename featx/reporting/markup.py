"""HTML made of elements, and whole pages of it that load nothing.

Invariant: text is escaped unless it came out of :func:`element`, :func:`joined` or :func:`verbatim`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from importlib import resources

__all__ = ["Markup", "document", "element", "folded", "joined", "jpeg", "table", "verbatim"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_WITHOUT_END = frozenset({"br", "hr", "img", "meta"})


class Markup(str):
    """HTML that is finished: never escaped again."""

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: str | bool | None) -> Markup:
    """An element; strings in it are text, and attributes that are None or False are left out.

    Examples
    --------
    >>> print(element("p", "a < b", class_="note", hidden=True))
    <p class="note" hidden>a &lt; b</p>
    """
    words = "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in _WITHOUT_END:
        return Markup(f"<{tag}{words}>")
    return Markup(f"<{tag}{words}>{joined(children)}</{tag}>")


def joined(children: Iterable[str | None]) -> Markup:
    """Markup and text one after the other; None is nothing."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def verbatim(text: str) -> Markup:
    """HTML or SVG from elsewhere, which the caller answers for."""
    return Markup(text)


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: bool = True,
    class_: str | None = None,
) -> Markup:
    """A table whose first column names its rows, in a box that scrolls where the screen is narrower than it.

    Parameters
    ----------
    caption : str
    columns : sequence of str
        Headings.
    rows : iterable of sequences of str
        Text or markup, a cell a column.
    numbers : bool
        Whether cells after the first stand to the right.
    """
    head = element("tr", *(element("th", column, scope="col") for column in columns))
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell) for cell in row[1:]),
        )
        for row in rows
    ]
    kind = " ".join(word for word in ("numbers" if numbers else "words", class_) if word)
    inner = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_=kind,
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def folded(summary: str, *children: str | None) -> Markup:
    """What is read on demand: folded away on a screen, open on paper."""
    return element("details", element("summary", summary), *children)


def jpeg(data: bytes, alt: str) -> Markup:
    """A picture, held by the page itself."""
    return element("img", src=f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}", alt=alt)


def document(title: str, body: Iterable[Markup | None]) -> bytes:
    """A page as one file, UTF-8: its policy forbids scripts and every address, and what it shows is in it."""
    style = (resources.files("featx.reporting") / "page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", verbatim(style)),
    )
    whole = element("html", head, element("body", element("main", *body)), lang="en")
    # Texts may hold half a surrogate pair.
    return f"<!DOCTYPE html>\n{whole}\n".encode("utf-8", errors="replace")


def _escaped(text: str) -> str:
    return text if isinstance(text, Markup) else html.escape(text)


def _attribute(key: str, value: str | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(value)}"'
