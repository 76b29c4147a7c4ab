"""Markdown pages that are written by training: prose is wrapped, everything else stays as it is."""

from hypothesis import given
from hypothesis import strategies as st

from tests.test_docs import badly_wrapped
from training.markdown import WIDTH, wrap

words = st.lists(st.sampled_from(["a", "word", "`a code span`", "x" * 60, "end."]), min_size=1, max_size=60)


@given(st.lists(words, max_size=4), st.booleans())
def test_paragraphs_are_wrapped_as_documents_must_be(paragraphs: list[list[str]], is_list: bool) -> None:
    page = "\n\n".join(("- " if is_list else "") + "\n".join(paragraph) for paragraph in paragraphs)
    wrapped = wrap(page)
    assert list(badly_wrapped(wrapped)) == []
    assert wrapped.split() == page.split()
    assert wrap(wrapped) == wrapped


def test_tables_headings_images_and_comments_stay() -> None:
    page = f"# {'long ' * 40}\n\n| a | {'b' * 200} |\n|---|---|\n![an image](x.png)\n<!-- {'c ' * 100} -->\n"
    assert wrap(page) == page


def test_list_items_are_not_joined() -> None:
    item = "- " + "word " * 30
    lines = wrap(f"{item}\n- next\n").split("\n")
    assert [line[:2] for line in lines] == ["- ", "  ", "- ", ""]
    assert all(len(line) <= WIDTH for line in lines)
