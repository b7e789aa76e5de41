"""What a terminal shows: leaks before any figure and once, one judgement in full, the others in a line."""

from __future__ import annotations

from dataclasses import replace

from featx.evaluation.leaks import Leak
from featx.evaluation.origins import Origin
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation

LEAK = Leak(kind="near-copy across split", n=3, message="3 samples are in both.")
LABELS = Leak(kind="near-copy with another label", n=1, message="1 pair has two labels.")


def test_leaks_stand_before_the_figures(right: Evaluation) -> None:
    lines = replace(right, leaks=(LEAK, LABELS)).format_table().splitlines()
    assert lines[1:3] == ["Beware: 3 samples are in both.", "Check: 1 pair has two labels."]
    assert lines[3] == "3 folds: 40 samples"


def test_a_comparison_says_each_leak_once_and_first(compared: Comparison) -> None:
    leaking = tuple(replace(each, leaks=(LEAK, LABELS)) for each in compared.evaluations)
    text = Comparison(evaluations=leaking).format_table()
    assert text.splitlines()[1:3] == ["Beware: 3 samples are in both.", "Check: 1 pair has two labels."]
    assert text.count("3 samples are in both.") == text.count("1 pair has two labels.") == 1


def test_other_judgements_have_a_line_each_unless_all_are_asked_for(pictured: Evaluation) -> None:
    brief, full = pictured.format_table(), pictured.format_table(full=True)
    assert len(pictured.judgements) == 2
    assert brief.count("macro F1") == 1
    assert full.count("macro F1") == 2
    (line,) = [line for line in brief.splitlines() if line.startswith("  test, as given: 16 samples")]
    value = pictured.judgements[1].figures["balanced_accuracy"].value
    assert f"{value:.3f} (" in line
    assert "also judged" not in full


def test_a_comparison_in_full_has_every_figure_of_each(compared: Comparison) -> None:
    assert "Brier score" not in compared.format_table()
    assert compared.format_table(full=True).count("Brier score") == 3


def test_the_data_set_is_named(right: Evaluation, compared: Comparison) -> None:
    origin = Origin(rows=right.origin.rows, dataset="pets")
    named = replace(right, name="a", origin=origin)
    assert named.format_table().startswith("a on pets\n")
    assert Comparison(evaluations=(named,)).format_table().startswith("1 model on pets\n")
    assert right.format_table().splitlines()[0] == right.name


def test_one_line_counts_what_was_judged(pictured: Evaluation, two: Evaluation) -> None:
    assert repr(pictured).endswith("test, only what training has not seen, 15 samples)")
    assert repr(two).endswith("3 folds, 40 groups)")
