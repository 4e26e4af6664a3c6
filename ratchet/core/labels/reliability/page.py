"""How far labelers agree, as tables of a page and as a sentence: all text escaped. Pure."""

from collections.abc import Iterable, Sequence
from html import escape

from ratchet.core.labels.reliability.coefficients import Estimate
from ratchet.core.labels.reliability.report import Agreement, Reliability

_ACCEPTED_NAME = "(accepted label)"


def reliability_text(found: Reliability) -> str:
    """One sentence, with the bounds; why there is no number where too little is shared."""
    if not found.is_enough:
        return (
            f"agreement beyond chance is not measured: {found.num_examples} examples have two or more opinions, "
            f"accepted labels counted; {found.num_shared_min} are needed"
        )
    shared = f"{found.num_examples} examples with two or more opinions, accepted labels counted"
    if found.krippendorff_alpha is None:
        return f"agreement beyond chance is undefined: all labels of {shared}, are the same"
    fleiss = f"; Fleiss' kappa {estimate_text(found.fleiss_kappa)}" if found.fleiss_kappa else ""
    return (
        f"Krippendorff's alpha ({found.scale}) is {estimate_text(found.krippendorff_alpha)} on {shared}{fleiss}; "
        "1 is perfect agreement, 0 is chance"
    )


def estimate_text(estimate: Estimate | None) -> str:
    """`0.743 (0.61 to 0.85)`."""
    if estimate is None:
        return "–"
    return f"{estimate.value:.3f} ({estimate.low:.2f} to {estimate.high:.2f})"


def share_text(agreement: Agreement) -> str:
    """`91.0 % (85 % to 95 %)`."""
    if agreement.agreement_ratio is None or agreement.agreement_low is None or agreement.agreement_high is None:
        return "–"
    return f"{agreement.agreement_ratio:.1%} ({agreement.agreement_low:.0%} to {agreement.agreement_high:.0%})"


def render_reliability(found: Reliability) -> str:
    """HTML tables: overall, by class, by labeler, by pair."""
    parts = ["<h2>Agreement of labelers</h2>", f"<p>{escape(reliability_text(found))}.</p>"]
    if not found.is_enough:
        return "\n".join(parts)
    parts.append(
        "<p>In brackets: 95 % bounds, of coefficients by a bootstrap over examples. Labelers are compared with what "
        f"most of the others say. Fewer than {found.num_shared_min} shared examples give no number.</p>"
    )
    if found.num_left_out:
        parts.append(f"<p>{found.num_left_out:,} opinions beyond those looked at are left out.</p>")
    if found.by_class:
        rows = [
            (each.name, str(each.num_votes), estimate_text(each.fleiss_kappa), estimate_text(each.krippendorff_alpha))
            for each in found.by_class
        ]
        parts.append(_table(("class", "opinions", "Fleiss' kappa", "Krippendorff's alpha"), rows))
    if found.by_labeler:
        rows_of = [
            (each.labeler, str(each.num_shared), share_text(each), _or_too_few(each)) for each in found.by_labeler
        ]
        parts.append(_table(("labeler", "shared examples", "agrees with the others", coefficient_name(found)), rows_of))
    if found.pairs:
        pairs = [
            (*(name or _ACCEPTED_NAME for name in each.labelers), str(each.num_shared), estimate_text(each.coefficient))
            for each in found.pairs
        ]
        parts.append(_table(("labeler", "and", "shared examples", coefficient_name(found)), pairs))
    return "\n".join(parts)


def coefficient_name(found: Reliability) -> str:
    """Of two who label the same examples."""
    return "Cohen's kappa" if found.scale == "nominal" else "Krippendorff's alpha"


def _or_too_few(agreement: Agreement) -> str:
    if agreement.coefficient is None and agreement.agreement_ratio is None:
        return "too few shared examples"
    return estimate_text(agreement.coefficient)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
