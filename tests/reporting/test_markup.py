"""HTML made of elements is escaped unless it is markup already."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from featx.reporting.markup import Markup, element, joined, table, verbatim


class Texts(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.data = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.data += data


text = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))


@given(text, text)
def test_any_text_comes_back_as_it_was_given(inside: str, attribute: str) -> None:
    read = Texts(element("p", inside, title=attribute))
    assert (read.tags, read.data, read.attributes) == (["p"], inside, [{"title": attribute}])


def test_markup_is_not_escaped_twice() -> None:
    inner = element("b", "<")
    assert element("p", inner, " & ") == "<p><b>&lt;</b> &amp; </p>"
    assert joined(["<", inner, None]) == "&lt;<b>&lt;</b>"
    assert element("p", verbatim("<svg/>")) == "<p><svg/></p>"
    assert isinstance(joined([]), Markup)


def test_attributes_that_are_none_are_left_out() -> None:
    assert element("img", src="a", alt=None, hidden=False, http_equiv="x") == '<img src="a" http-equiv="x">'


def test_rows_and_columns_are_headed() -> None:
    read = Texts(table("what <it> is", ["name", "value"], [["<i>", "1"], ["b", element("b", "2")]]))
    assert read.tags.count("th") == 4
    assert read.tags.count("td") == 2
    assert "i" not in read.tags
    assert "what <it> is" in read.data
