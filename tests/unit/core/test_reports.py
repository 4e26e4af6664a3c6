from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Reason, Verdict


def test_text_from_outside_is_escaped():
    reason = Reason(check="<b>", value="<script>alert(1)</script>", limit=0.5, passed=False, text="labeler <i>eve</i>")
    page = render_verdict(Verdict(kind="validate", verdict="refused", reasons=(reason,)), title="<title>")
    assert "<script>alert" not in page
    assert "<i>eve" not in page
    assert "&lt;i&gt;eve" in page


def test_a_section_takes_the_place_of_what_it_shows():
    reason = Reason(check="c", value=1, limit=None, passed=True, text="t")
    verdict = Verdict(kind="validate", verdict="accepted", reasons=(reason,), inputs={"deep": {"a": 1}, "plain": "p"})
    page = render_verdict(verdict, title="t", sections={"deep": "<h2>Drawn</h2>"})
    assert "<h2>Drawn</h2>" in page and "<td>deep</td>" not in page and "<td>plain</td>" in page
