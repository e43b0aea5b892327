"""The formulas of the site: drawn when it is built, and wrong ones refused."""

import pytest

import formulas


@pytest.fixture(scope="module")
def pen():
    return formulas.Pen()


PAGE = (
    "<html><head></head><body>"
    '<p>Of <span class="math notranslate nohighlight">\\(a &lt; b\\)</span> it follows that</p>'
    '<div class="math notranslate nohighlight" id="equation-eq-x">\n'
    '<span class="eqno">(1.2)<a href="#equation-eq-x">#</a></span>\\[\\frac{a}{b} &lt; 1\\]</div>'
    "</body></html>"
)


def test_a_page_keeps_all_but_the_source_of_its_formulas(pen):
    drawn = formulas.with_formulas(PAGE, pen, "../formulas.css")
    assert drawn.count("<mjx-container") == 2
    assert '<span class="eqno">(1.2)<a href="#equation-eq-x">#</a></span><mjx-container' in drawn
    assert 'href="../formulas.css"' in drawn
    assert "\\[" not in drawn
    assert "\\(" not in drawn


def test_screen_readers_get_mathml(pen):
    assert "<mfrac><mi>a</mi><mi>b</mi></mfrac></math>" in pen.draw(r"\frac{a}{b}", True)
    assert "<mo>&lt;</mo>" in pen.draw("a < b", False)


def test_a_formula_of_its_own_is_drawn_larger(pen):
    assert 'display="true"' in pen.draw(r"\sum_i x_i", True)
    assert 'display="true"' not in pen.draw(r"\sum_i x_i", False)


def test_the_style_sheet_has_the_letters_that_were_drawn(pen):
    pen.draw(r"\boldsymbol{\mu}", False)
    assert "mjx-c1D741" in pen.style()
    assert "mjx-c1D74E" not in pen.style()
    assert 'url("mathjax/MathJax_Main-Regular.woff")' in pen.style()


@pytest.mark.parametrize("wrong", [r"\logg p", r"\frac{a}", r"\begin{aligned} a", "a_b_c", "{a"])
def test_a_wrong_formula_is_refused_with_its_text(pen, wrong):
    with pytest.raises(ValueError, match=r"^" + wrong.replace("\\", r"\\").replace("{", r"\{")[:6]):
        pen.draw(wrong, False)


def test_a_page_without_formulas_stays_as_it_is(pen):
    assert formulas.with_formulas("<head></head><p>None.</p>", pen, "x") == "<head></head><p>None.</p>"
