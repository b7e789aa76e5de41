"""Words of a command line are images or texts, or tables, folders and patterns of them; nothing is taken for what it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featx.errors import DatasetError, FeatxWarning
from featx.inputs.arguments import images_of, texts_of
from featx.inputs.folders import is_image


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


class TestTexts:
    """Texts of words."""

    def test_words_are_texts_in_their_order(self) -> None:
        assert texts_of(["late again", "", "why", "-"]) == ["late again", "", "why", "-"]
        assert texts_of([]) == []

    @example(["."]).xfail(raises=DatasetError, reason="there is such a folder")
    @given(
        st.lists(
            st.text().filter(
                lambda text: (
                    not text.lower().endswith((".csv", ".tsv", ".txt"))
                    and not is_image(text)
                    and not os.path.exists(text)
                )
            )
        )
    )
    def test_any_word_that_names_no_file_is_a_text(self, words: list[str]) -> None:
        assert texts_of(words) == words

    @pytest.mark.parametrize(
        "word", ["I lost my notes.txt", "see the report.csv", "a\ttable.tsv", "first line\nsecond.txt"]
    )
    def test_a_sentence_that_ends_like_a_file_is_a_text(self, word: str) -> None:
        assert texts_of([word]) == [word]

    def test_a_file_of_lines_is_one_text_a_line(self) -> None:
        lines = write("texts.txt", "first\n\n third, with a comma\nlast")
        with pytest.warns(FeatxWarning, match=r"1 of 4 texts is empty \(texts\.txt, line 2\)"):
            assert texts_of([lines]) == ["first", "", " third, with a comma", "last"]

    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
    def test_lines_of_any_system_end_alike(self, ending: str) -> None:
        assert texts_of([write("texts.txt", f"a{ending}b{ending}")]) == ["a", "b"]

    @pytest.mark.parametrize("code", [0x0B, 0x0C, 0x1C, 0x85, 0x2028, 0x2029])
    def test_what_unicode_calls_a_line_boundary_stays_inside_of_a_text(self, code: int) -> None:
        text = f"one{chr(code)}text"
        assert texts_of([write("texts.txt", f"{text}\nother\n")]) == [text, "other"]

    def test_a_byte_order_mark_is_none_of_the_text(self) -> None:
        assert texts_of([write("texts.txt", b"\xef\xbb\xbfa\n")]) == ["a"]

    @pytest.mark.parametrize("name", ["my notes.txt", "deep folder/a.TXT"])
    def test_a_file_that_is_there_is_read_whatever_its_name(self, name: str) -> None:
        assert texts_of([write(name, "a\nb\n")]) == ["a", "b"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [(b"", "expected one text a line, found none"), (b"caf\xe9\n", "cannot be read as text in UTF-8")],
    )
    def test_a_file_without_texts_is_refused_by_name(self, content: bytes, says: str) -> None:
        with pytest.raises(DatasetError, match=rf"texts\.txt: {says}"):
            texts_of([write("texts.txt", content)])

    @pytest.mark.parametrize("name", ["absent.txt", "absent.csv", "absent.TSV", "folder/absent.csv"])
    def test_a_file_that_is_not_there_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(DatasetError) as caught:
            texts_of([name])
        assert name in str(caught.value)

    def test_a_table_stands_for_its_texts(self) -> None:
        table = write("texts.csv", 'text,label\n"one, two",a\n"with a\nnew line",b\n')
        assert texts_of(["before", table, "behind"]) == ["before", "one, two", "with a\nnew line", "behind"]
        spaced = write("my table.tsv", "id\ttext\n1\tone\n2\ttwo\n")
        assert texts_of([spaced]) == ["one", "two"]

    def test_another_column_may_hold_them(self) -> None:
        table = write("texts.csv", "text,title\na,A\nb,B\n")
        assert texts_of([table], column="title") == ["A", "B"]
        with pytest.raises(DatasetError, match="no column 'body'"):
            texts_of([table], column="body")
        with pytest.raises(DatasetError, match="no column 'text'"):
            texts_of([write("images.csv", "file,label\na.png,a\n")])

    def test_the_column_of_the_training_is_taken(self) -> None:
        table = write("texts.csv", "text,title\na,A\nb,B\n")
        assert texts_of([table], learned="title") == ["A", "B"]
        assert texts_of([table], learned="title", column="text") == ["a", "b"]
        with pytest.raises(DatasetError, match=r"no column 'titel', which held .*trained on.*mean 'title'"):
            texts_of([table], learned="titel")

    def test_labels_are_no_concern(self) -> None:
        # One class, and one label missing: nobody asked for them.
        assert texts_of([write("texts.csv", "text,label\na,x\nb,\n")]) == ["a", "b"]


class TestImages:
    """Images of words."""

    def test_files_are_taken_as_they_are(self) -> None:
        assert images_of(["b.png", "absent.jpg", "a.png"]) == ["b.png", "absent.jpg", "a.png"]

    def test_folders_and_patterns_stand_for_the_images_in_them(self) -> None:
        for name in ("new/b.png", "new/a.jpg", "new/notes.txt"):
            write(name, b"")
        expected = [str(Path("new/a.jpg")), str(Path("new/b.png"))]
        assert images_of(["new"]) == expected
        assert images_of([str(Path("new/*.png")), "new"]) == [expected[1], *expected]

    def test_a_table_stands_for_its_files(self) -> None:
        table = write("lists/images.csv", "file,label\na.png,x\nsub/b.png,y\n")
        assert images_of(["first.png", table]) == [
            "first.png",
            os.path.join("lists", "a.png"),
            os.path.join("lists", "sub/b.png"),
        ]

    def test_the_column_of_the_training_is_taken(self) -> None:
        table = write("lists/images.csv", "file,scan\na.png,b.png\n")
        assert images_of([table], learned="scan") == [os.path.join("lists", "b.png")]
        assert images_of([table], learned="scan", column="file") == [os.path.join("lists", "a.png")]
        assert images_of([table], learned="scan", image_root="other") == [os.path.join("other", "b.png")]
        with pytest.raises(DatasetError, match=r"no column 'skan'.*Did you mean 'scan'.*file_column="):
            images_of([table], learned="skan")

    def test_a_table_of_texts_is_refused_in_words(self) -> None:
        table = write("texts.csv", "text,label\na,x\nb,y\n")
        with pytest.raises(DatasetError, match=r"texts\.csv: lists texts, in its column 'text'"):
            images_of([table])

    def test_a_table_without_files_is_refused(self) -> None:
        with pytest.raises(DatasetError, match="no column 'file'"):
            images_of([write("table.csv", "a,b\n1,2\n")])

    @pytest.mark.parametrize(("word", "says"), [("empty", "without images"), ("no/*.png", "no file matches")])
    def test_folders_and_patterns_of_nothing_are_refused(self, word: str, says: str) -> None:
        Path("empty").mkdir()
        with pytest.raises(DatasetError, match=says):
            images_of([word])
