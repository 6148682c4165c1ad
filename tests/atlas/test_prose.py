"""Text as pages show it: a little markup, words explained once, and nothing that is markup by accident."""

from __future__ import annotations

import pytest

from superscope.atlas import prose
from superscope.atlas.source import File, Source


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("x^2 and W^T W", "x<sup>2</sup> and W<sup>T</sup> W"),
        ("W<sup>T</sup>W, a *word*", "W<sup>T</sup>W, a <em>word</em>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("`a*b*c` <b>", "<code>a*b*c</code> &lt;b&gt;"),
        ("``x^2``", "<code>x^2</code>"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("<sup><script></sup>", "<sup>&lt;script&gt;</sup>"),
    ],
)
def test_markup(text, html):
    assert prose.inline(text) == html


def test_a_word_is_explained_where_it_first_stands_and_only_there():
    seen = set()
    first = prose.inline("Gates and nulls; a gate, a null.", seen)
    assert first.count('class="term"') == 2
    assert seen == {"gate", "null"}
    assert "term" not in prose.inline("The gate.", seen)
    assert "term" not in prose.inline("delegate, annulled, `gate`", set())


def test_every_form_of_the_glossary_belongs_to_one_word():
    forms = [form.lower() for term in prose.glossary().values() for form in term.forms]
    assert len(forms) == len(set(forms))
    assert all(term.says.endswith(".") for term in prose.glossary().values())


def test_paragraphs_lists_and_code():
    blocks = prose.paragraphs("""One
    line.

    - first
      goes on
    - second

        code(<b>)
    """)
    assert [(kind, [str(part) for part in parts]) for kind, parts in blocks] == [
        ("p", ["One line."]), ("ul", ["first goes on", "second"]), ("pre", ["code(&lt;b&gt;)"]),
    ]  # fmt: skip


def test_source_lines_are_coloured_escaped_and_all_there():
    text = 'def f(x):\n    """Two\n    lines <b>."""\n    return x  # "why"\n'
    lines = File("a.py", text).lines()
    assert len(lines) == 4
    assert lines[0] == '<span class="kw">def</span> f(x):'
    assert lines[2] == '<span class="str">    lines &lt;b&gt;.&quot;&quot;&quot;</span>'
    assert '<span class="com"># &quot;why&quot;</span>' in lines[3]


def test_a_claim_made_by_a_loop_leads_to_the_rows():
    file = File(
        "a.py", '"""T.\n\nMethod."""\nEXPECTED = [\n    Expect("one", "s"),\n    *(Expect(f"two-{k}", "s") for k in "ab"),\n]\n'
    )
    source = Source((file,))
    assert source.method == "Method."
    assert source.line_of("one") == "a-L5"
    assert source.line_of("two-a") == "a-L4"
