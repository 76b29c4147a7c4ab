"""Text that is pasted as steps, in a real Chromium: read as it was meant in any locale, or refused."""

import csv
import io
import json
import random
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.ui.pages import Open, send

READ = """async ([texts, expected]) => {
  const { parse } = await import("./ui/table.js");
  const read = (text) => {
    try { return parse(text, expected); } catch (error) { return error.message; }
  };
  return texts.map(read);
}"""

RIGHT: dict[str, list[list[float | None]]] = {
    "1,2\n3,4": [[1, 2], [3, 4]],
    "1.234,2.345": [[1.234, 2.345]],  # only a comma separates here
    "1;2\r\n3;4\r\n": [[1, 2], [3, 4]],
    "0,5;1,25\n-1,5e-3;2": [[0.5, 1.25], [-0.0015, 2]],
    "0,5\t1,25\n7\t8": [[0.5, 1.25], [7, 8]],
    "0.5\t1.25": [[0.5, 1.25]],
    "1.234\t0.5": [[1.234, 0.5]],  # 0.5 has no thousands, so neither has 1.234
    "1,234;12345": [[1.234, 12345]],  # thousands are not separated in 12345
    "\ufeffa,b\n1,2": [[1, 2]],
    "b;a\n1,5;2": [[2, 1.5]],
    '"b","noted, by hand","a"\n1,"x, ""y""",2': [[2, 1]],
    '"a","b"\n"0,5","1,5"': [[0.5, 1.5]],
    "a\tb\n1\t\n\t2": [[1, None], [None, 2]],
    "1\t\n": [[1, None]],
    " 1 , +2e3 ": [[1, 2000]],
    "\n\n1,2\n\n": [[1, 2]],
    "1,2\r3,4": [[1, 2], [3, 4]],
}
REFUSED = {
    "0,5\n1,5\n0,5,1,5": "row 3 has 4 values, the first row 2",
    "0,5,1,5": "row 1 has 4 values, a step of this model has 2; if the comma is the decimal mark, choose it",
    "1,234\t5,678": 'row 1, column 1: "1,234" may be 1234 or 1.234: choose the decimal mark',
    "1.234;5.678": 'row 1, column 1: "1.234" may be 1234 or 1.234: choose the decimal mark',
    '"1,234","5,678"': 'row 1, column 1: "1,234" may be 1234 or 1.234: choose the decimal mark',
    "0.5;1,5": "row 1, column 1 has a decimal point, row 1, column 2 a decimal comma: choose the decimal "
    "mark",
    "1.234,5;2": 'row 1, column 1: "1.234,5" is not a number; write it without thousands separators',
    "1,234.5\t2": 'row 1, column 1: "1,234.5" is not a number; write it without thousands separators',
    "1 234;2": 'row 1, column 1: "1 234" is not a number; write it without thousands separators',
    "1'234;2": 'row 1, column 1: "1\'234" is not a number; write it without thousands separators',
    "1,NaN": 'row 1, column 2: "NaN" is not a number',
    "1,null": 'row 1, column 2: "null" is not a number',
    "1,inf": 'row 1, column 2: "inf" is not a number',
    "1,0x10": 'row 1, column 2: "0x10" is not a number',
    "1,5 %": 'row 1, column 2: "5 %" is not a number',
    "1,1_000": 'row 1, column 2: "1_000" is not a number',
    "1,9007199254740993": "row 1, column 2: 9007199254740993 is beyond 2^53: this page would round it",
    "[[1, 9007199254740993]]": "9007199254740993 is beyond 2^53: this page would round it",
    '1,"2': "row 1: a quote is not closed, or within a value",
    '1,2"': "row 1: a quote is not closed, or within a value",
    "1,2\n\n3,4": "row 2 is empty",
    "1;2\n3,4": "row 2 has 1 values, the first row 2",
    "1 2\n3 4": 'row 1, column 1: "1 2" is not a number',
    "a,c\n1,2": 'the header has no column "b", or has it twice',
    "a,a,b\n1,2,3": 'the header has no column "a", or has it twice',
}
CHOSEN: list[tuple[str, str, Any]] = [
    (",", "1,234\t5,678", [[1.234, 5.678]]),
    (".", "1.234;5.678", [[1.234, 5.678]]),
    (",", "0,5;1.5", 'row 1, column 2: "1.5" is not a number'),
    (".", "0.5;1,5", 'row 1, column 2: "1,5" is not a number'),
]


def test_what_is_pasted_is_read_as_it_was_meant_or_refused(open_page: Open) -> None:
    page = open_page()
    features = {"features": ["a", "b"]}
    read = page.evaluate(READ, [[*RIGHT, *REFUSED], features])
    assert dict(zip([*RIGHT, *REFUSED], read, strict=True)) == RIGHT | REFUSED
    for mark, text, expected in CHOSEN:
        assert page.evaluate(READ, [[text], features | {"mark": mark}]) == [expected]
    assert page.evaluate(READ, [["0,5\n1,5"], {"width": 1, "mark": ","}]) == [[[0.5], [1.5]]]
    assert page.evaluate(READ, [["0,5\n1,5"], {"width": 1}])[0].endswith(
        "; if the comma is the decimal mark, choose it"
    )


def test_any_table_of_any_dialect_is_read_exactly_or_refused(open_page: Open) -> None:
    """Numbers that Python's csv module writes, in each locale; of a text with two readings, none is taken."""
    draw = random.Random(5)
    tables, texts = [], []
    for _ in range(300):
        delimiter, mark = draw.choice(
            [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (",", ",")]
        )
        width, digits = draw.randint(2, 4), draw.randint(0, 6)
        table = [
            [None if draw.random() < 0.1 else round(draw.uniform(-2000, 2000), digits) for _ in range(width)]
            for _ in range(draw.randint(1, 4))
        ]
        written = [["" if v is None else f"{v:.{digits}f}".replace(".", mark) for v in row] for row in table]
        file = io.StringIO()
        csv.writer(
            file, delimiter=delimiter, quoting=draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        ).writerows(written)
        tables.append(table)
        texts.append(file.getvalue())
    read = open_page().evaluate(READ, [texts, {}])
    refused = [each for each in read if isinstance(each, str)]
    assert (
        all(("choose the decimal mark" in each or "no steps" in each) for each in refused)
        and len(refused) < 60
    )
    for text, table, values in zip(texts, tables, read, strict=True):
        assert isinstance(values, str) or values == table, text


def test_a_block_of_a_spreadsheet_is_pasted_into_the_grid(open_page: Open) -> None:
    page = open_page()

    def paste(cell: str, text: str) -> None:
        page.locator(f"[aria-label='{cell}']").evaluate(
            """(cell, text) => {
              const clipboardData = new DataTransfer();
              clipboardData.setData("text/plain", text);
              const options = { clipboardData, bubbles: true, cancelable: true };
              cell.dispatchEvent(new ClipboardEvent("paste", options));
            }""",
            text,
        )

    paste("step 20, lpc_cepstrum_11", "0,5\t1,5\n2\t3\n")
    expect(page.locator("#input-title")).to_have_text("Steps (21)")
    paste("step 1, lpc_cepstrum_12", "1\t2\n")
    expect(page.locator("#problem")).to_have_text("Not pasted: 2 columns from column 12 on: a step has 12")
    paste("step 1, lpc_cepstrum_1", "0,5\n1,5\n")
    expect(page.locator("#problem")).to_contain_text(
        "a decimal comma, or two columns: choose the decimal mark"
    )
    page.click("text=Remove the last")
    expect(page.locator("#input-title")).to_have_text("Steps (20)")
    page.click("text=Add a step")
    page.click("button >> text=JSON or CSV")
    rows = json.loads(page.input_value("#json"))
    assert len(rows) == 21 and rows[19][10:] == [0.5, 1.5] and rows[20] == rows[19]


@pytest.mark.parametrize(("mark", "shown"), [("comma", 1.234), ("point", "is not a number")])
def test_the_decimal_mark_is_chosen_where_it_is_not_certain(open_page: Open, mark: str, shown: Any) -> None:
    page = open_page()
    page.click("text=JSON or CSV")
    page.fill("#json", "\t".join(["1,234"] * 12))
    page.locator("#json").blur()
    page.click("#send")
    expect(page.locator("#problem")).to_contain_text("choose the decimal mark")
    page.get_by_label("Decimal mark of CSV").select_option(mark)
    if mark == "point":
        page.click("#send")
        expect(page.locator("#problem")).to_contain_text(shown)
        return
    send(page)
    assert str(shown) in (page.locator("#snippets pre").nth(2).text_content() or "")
