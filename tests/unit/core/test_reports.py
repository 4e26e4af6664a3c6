from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Reason, Verdict


def test_text_from_outside_is_escaped():
    reason = Reason(check="<b>", value="<script>alert(1)</script>", limit=0.5, passed=False, text="labeler <i>eve</i>")
    page = render_verdict(Verdict(kind="validate", verdict="refused", reasons=(reason,)), title="<title>")
    assert "<script>alert" not in page
    assert "<i>eve" not in page
    assert "&lt;i&gt;eve" in page
