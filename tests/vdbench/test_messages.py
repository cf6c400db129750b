from __future__ import annotations

from vdbench.errors import LISTED, LONGEST, nearest, sentence


def test_many_names_are_listed_as_far_as_a_sentence_holds_them_and_counted() -> None:
    names = [f"estimator-number-{k}" for k in range(40)]
    said = nearest("zzz", names)
    listed, more = said.removeprefix(" Expected one of: ").split(" and ")
    assert len(listed) <= LISTED
    assert all(name in names for name in listed.split(", "))
    assert more == f"{40 - len(listed.split(', '))} more."
    assert nearest("zzz", names[:3]) == f" Expected one of: {', '.join(sorted(names[:3]))}."
    assert nearest("zzz", ["x" * 500, "y" * 500]).count("x") == 501  # no name fits: all are written


def test_a_sentence_is_cut_between_words() -> None:
    words = [f"word{k}" for k in range(100)]
    said = sentence(" ".join(words))
    assert len(said) <= LONGEST
    assert set(said.split()) <= {*words, "…"}
    assert len(sentence("x" * 1000)) <= LONGEST  # nothing to cut between
