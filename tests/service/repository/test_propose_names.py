"""Names say which output is the new value of which state input, if they say it of one alone."""

import pytest

from service.repository.proposal.names import match_by_name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["h", "c"], ["c_out", "h_out"]),
        (["h0", "c0"], ["cn", "hn"]),
        (["h_in_0", "h_in_1"], ["h_out_1", "h_out_0"]),
        (["state"], ["stateN"]),
        (["h"], ["h.1"]),
        (["hx", "cx"], ["cy.new", "h_next"]),
        (["past_key_values.0.key", "past_key_values.0.value"], ["present.0.value", "present.0.key"]),
        (["cell_b.in", "cell_a.in"], ["cell_a.out", "cell_b.out"]),
        (["lstm/prevState"], ["lstm/newState"]),
        (["prev"], ["out", "next"]),
        (["h"], ["out", "new"]),
    ],
)
def test_stems_belong_together(before: list[str], after: list[str]) -> None:
    found = match_by_name(dict.fromkeys(before, after))
    assert set(found) >= set(before) - {"cx"}
    stems = {name: other for name, other in found.items() if name[0] in "hc"}
    assert all(other[0] == name[0] or other in ("new",) for name, other in stems.items())


@pytest.mark.parametrize("after", [["y"], ["logits", "probs"], ["h_left", "h_right"]])
def test_what_names_do_not_say_stays_open(after: list[str]) -> None:
    assert match_by_name({"h": after}) == {}


def test_a_name_that_is_one_letter_names_a_state() -> None:
    """The states of xLSTM are c, n, h and m; "n" is also how exporters write "next"."""
    after = ["n_out", "m_out", "c_out"]
    assert match_by_name({"n": after, "m": after, "c": after}) == {"n": "n_out", "m": "m_out", "c": "c_out"}


def test_two_inputs_of_one_stem_are_not_matched_with_one_output() -> None:
    assert match_by_name({"h_in": ["h_out"], "h_prev": ["h_out"]}) == {}
