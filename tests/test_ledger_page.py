"""The table of the ledger: what its cells say."""

import pytest

pytest.importorskip("sphinx")


@pytest.fixture
def page(extension):
    return extension("ledger_page")


@pytest.mark.parametrize(("part", "shown"), [(0.0, "0%"), (1e-4, "<1%"), (0.03, "3%"), (1.0, "100%")])
def test_only_a_deviation_of_nothing_uses_nothing_of_its_tolerance(part, shown, page):
    assert page.share(part) == shown


def test_the_name_of_a_file_breaks_after_underscores_and_stays_the_name(page):
    name = page.breakable("studies/test_kill_and_resume.py")
    assert name.astext().replace("<wbr>", "") == "studies/test_kill_and_resume.py"
    assert [word for word in name.astext().split("<wbr>") if word] == ["studies/test_kill_", "and_", "resume.py"]
