"""The page and the notebook fragment."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from gradverify.records import Check, Entry, Report, Sampled, Verdict
from gradverify.report import html, views

VOID = {"meta", "link", "input", "path", "rect", "br"}


class Page(HTMLParser):
    """The tags, attributes and texts of a page, with its nesting checked on the way."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(affine, gelu, quantize):
    return html.page([affine, gelu, quantize], "Nightly")


def test_the_page_is_well_nested_and_has_a_row_a_check(page):
    rows = [row for row in Page(page).all("tr") if "data-v" in row]
    assert [row["data-v"] for row in rows] == ["fail", "inconclusive", "pass", "pass", "pass"]


def test_a_failure_shows_its_numbers_cause_evidence_remedy_and_command(page):
    for part in ("computed 0.842183, expected 0.841372", "under a tanh forward",
                 "fits the erf to 3e-16", "differentiate the tanh form", "gradverify again 3f9a",
                 "complex step and finite differences", "<i>0.84</i>2183", "<i>0.84</i>1372"):
        assert part in page


def test_a_failure_shows_error_against_step_maps_and_the_code_that_reproduces_it(page):
    for part in ("At their best, h = ", "from expected and ", "map of the entries: computed",
                 "target, inputs, options = load(&#34;3f9a&#34;)"):
        assert part in page


def test_causes_are_counted_and_found(page):
    assert 'data-find="other-derivative"' in page
    assert page.count('data-also="other-derivative"') == 2  # its row and its details


def test_a_pass_shows_to_what_relative_error(page):
    assert "to 3e-15, any one entry to 2e-13" in page


def test_a_stopped_check_shows_reason_and_advice(page):
    assert "the forward is a staircase here" in page
    assert "surrogate=identity" in page


def test_the_page_asks_the_network_for_nothing(page):
    for _, attributes in Page(page).tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import|https?:", page)


def test_the_policy_allows_the_pages_own_script_and_style_alone(page):
    for tag in ("script", "style"):
        content = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(content) == 1
        digest = b64encode(sha256(content[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page


def test_every_header_says_what_it_heads_and_every_table_has_a_caption(page):
    parsed = Page(page)
    assert all(header.get("scope") in ("col", "row") for header in parsed.all("th"))
    assert len(parsed.all("caption")) == len(parsed.all("table"))


def test_every_link_leads_somewhere_and_no_id_comes_twice(page):
    parsed = Page(page)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in parsed.all("a")} <= {f"#{one}" for one in ids}
    assert len(parsed.all("a")) == 3


def test_hostile_names_stay_text(evil):
    for source in (html.page([evil], "<script>"), html.fragment(evil)):
        parsed = Page(source)
        assert len(parsed.all("script")) <= 1
        assert "<script>alert" not in source
        assert any("<script>alert(1)</script>" in text for text in parsed.texts)
        assert not {"\x1b", "\u202e"} & set(source)


def test_a_name_of_ten_thousand_characters_is_cut(failed):
    report = Report("n" * 10_000, (failed(target="t" * 10_000, wrt="w" * 10_000),))
    assert not re.search("n{201}|t{201}|w{201}", html.page([report]))


def test_five_hundred_failures_stay_below_a_megabyte(failed):
    names = [f"some_package.some_module.submodule:SomeLayerClass.forward_{i}" for i in range(100)]
    leaf = "params.dense.weight"
    indices = tuple((i, j) for i in range(8) for j in range(8))
    computed = tuple(0.8 + 0.3 * (-1) ** j + 10.0 ** -(i + 1) for i, j in indices)
    entries = tuple(Entry(leaf, index, value, 0.8) for index, value in zip(indices[:12], computed, strict=False))
    sampled = Sampled(indices, computed, (0.8,) * 64, (1e-15,) * 64)
    check = failed(wrt=leaf, entries=entries, sampled=sampled, shape=(8, 8), detail="line\n" * 50)
    reports = [Report(name, (replace(check, target=name),) * 5, again="3f9a") for name in names]
    page = html.page(reports)
    assert len(page.encode()) < 1_000_000
    assert page.count('class="curve"') + page.count("Its figures are left out") == 500
    assert page.count('class="curve"') > 5, "the first failures have theirs"


def test_sixty_failures_all_have_their_figures(failed, passed):
    page = html.page([Report("f", (*(failed(),) * 60, *(passed(),) * 440))])
    assert page.count('class="curve"') == page.count('class="maps"') == 60
    assert len(page.encode()) < 1_000_000


def test_ten_thousand_passes_are_counted_rather_than_listed(passed):
    page = html.page([Report("f", (passed(),) * 10_000)])
    assert "8000 more passed" in page
    assert len(page) < 2_000_000


@pytest.mark.parametrize(("verdicts", "headline"), [
    ("", "Nothing was checked."), ("p", "Every gradient is right: 1 target."),
    ("fp", "1 of 2 targets has a wrong gradient."), ("ffp", "2 of 3 targets have a wrong gradient."),
    ("ip", "No gradient is wrong; 1 of 2 targets could not be decided.")])
def test_the_headline_says_the_outcome(verdicts, headline):
    known = {"p": Verdict.PASS, "f": Verdict.FAIL, "i": Verdict.INCONCLUSIVE}
    reports = [Report("f", (Check("f", "x", "out", known[letter]),)) for letter in verdicts]
    assert html.headline(reports) == headline
    Page(html.page(reports))


def test_numbers_of_different_size_share_no_digits():
    assert views.pair_of(Entry("x", (0,), 12.0, 1.2)).same == ""
    assert views.pair_of(Entry("x", (0,), 1.25, 1.24)).same == "1.2"
    assert views.pair_of(Entry("x", (0,), float("nan"), 1.0)).relative == "not finite"


def test_the_fragment_is_a_small_table(gelu, affine):
    assert "gradverify again 3f9a" in gelu._repr_html_()
    assert len(Page(html.fragment(affine)).all("tr")) == 4


def test_the_page_is_written_whole(gelu, tmp_path):
    gelu.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html.page([gelu])
    assert len(list(tmp_path.iterdir())) == 1
