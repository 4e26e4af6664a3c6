"""How does a sentence feel? Hutto & Gilbert's sentences (2014) with 15 to 99 ratings each: reviews first, then tweets.

Three raters of each sentence label it, as a team would pay for; the mean of all its ratings is the truth that answers
are measured by, and nobody trains on it.
"""

import ast
import io
import tarfile
from collections.abc import Iterator, Mapping

from demo.rounds.data import Measure, Row, Size, TwoRounds, macro_f1, shuffled
from demo.rounds.packages import Package, fetch_package

# Licence: MIT.
PACKAGE = Package(
    registry="pypi",
    name="vaderSentiment",
    version="3.3.2",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
CLASSES = ("negative", "neutral", "positive")
NEUTRAL_BELOW = 0.5
"""Of a rating, -4 to 4, or of a mean of them, without its sign."""
NUM_RATERS = 3
_INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
_REVIEWS = ("movieReviewSnippets", "amazonReviewSnippets")
_TWEETS = ("tweets",)
_NUM = {"quick": (2_500, 1_500, 600), "whole": (6_000, 2_700, 1_500)}
"""Sentences of the first round, of the second, and held out."""


def load(size: Size) -> TwoRounds:
    """Fetch and read the sentences."""
    with tarfile.open(fetch_package(PACKAGE)) as archive:
        files = read_files(archive)
    reviews, tweets = shuffled(read_rows(files, _REVIEWS)), shuffled(read_rows(files, _TWEETS))
    num_first, num_second, num_held_out = _NUM[size]
    return TwoRounds(
        name="sentiment",
        title=f"sentences of film and product reviews, by {NUM_RATERS} raters each",
        task={
            "name": "sentiment",
            "inputs": [{"name": "sentence", "type": "text"}],
            "output": {"name": "feeling", "type": "category", "classes": list(CLASSES)},
            "model": {"kind": "text"},
        },
        # Three classes that people themselves tell apart on 90 %; and a model that has read tweets answers otherwise.
        policies={"evaluation": {"accuracy_min": 0.4}, "rollout": {"on_disagreement": "ignore"}},
        first=reviews[:num_first],
        second=tweets[num_held_out : num_held_out + num_second],
        held_out=tweets[:num_held_out],
        what_changed="tweets in the place of reviews: other words, smileys, and shorter",
        measure=Measure("macro F1", macro_f1),
        has_labelers=True,
    )


def read_files(archive: tarfile.TarFile) -> Mapping[str, str]:
    """Name to text of the tables in the archive that lies in the package's archive."""
    inner = next(member for member in archive if member.name.endswith(_INNER))
    packed = archive.extractfile(inner)
    assert packed is not None, inner.name
    with tarfile.open(fileobj=io.BytesIO(packed.read())) as tables:
        members = [(each.name.rpartition("/")[2], tables.extractfile(each)) for each in tables if each.isfile()]
        return {
            name: file.read().decode("utf-8-sig", errors="replace")
            for name, file in members
            if file is not None and name.endswith(("_GroundTruth.txt", "_anonDataRatings.txt"))
        }


def read_rows(files: Mapping[str, str], sources: tuple[str, ...]) -> Iterator[Row]:
    """One of each sentence with ratings. The file names no raters, only their ratings in an order: a rater is a place
    in it."""
    for source in sources:
        texts = {}
        for line in files[f"{source}_GroundTruth.txt"].splitlines():
            number, _, text = line.split("\t", 2)
            texts[number] = text.strip()
        for line in files[f"{source}_anonDataRatings.txt"].splitlines():
            number, _, _, listed = line.split("\t")
            ratings = ast.literal_eval(listed)
            if texts.get(number):
                # The mean in the file differs from that of its ratings in 196 rows.
                label = feeling_of(sum(ratings) / len(ratings))
                said = {f"rater-{place + 1}": feeling_of(ratings[place]) for place in range(NUM_RATERS)}
                yield Row(f"{source}/{number}", {"sentence": texts[number]}, label, said=said)


def feeling_of(rating: float) -> str:
    """Of one rating, or of a mean."""
    if abs(rating) < NEUTRAL_BELOW:
        return "neutral"
    return "positive" if rating > 0 else "negative"
