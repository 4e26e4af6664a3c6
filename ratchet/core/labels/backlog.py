"""`Backlog`: the labels that wait for a dataset version. Pure."""

from collections.abc import Mapping

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.digest import digest_of
from ratchet.core.labels.judged import AcceptedVersion
from ratchet.core.labels.shards import LabelShard, Place


class Backlog(BaseModel):
    """The label shards that no accepted dataset version contains, without those in quarantine and those sent again.

    What a decision about a run goes by, and what the run then takes in. A decision needs no `shards`, only their keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    watermark: str
    """The last label shard that the newest accepted version has looked at; "" before the first."""
    num_labels: int = Field(ge=0)
    """As the shards say of themselves."""
    shards: tuple[LabelShard, ...] = ()
    """In key order; without the last `num_left`."""
    shard_keys: tuple[str, ...] = ()
    """Of the shards, in key order."""
    oldest_at: AwareDatetime | None = None
    """When the first of them landed, as the object store says."""
    last_key: str = ""
    """The last key looked at, in quarantine, sent again or not: the watermark of a version that takes these shards.
    Only of a look that left none (`is_counted=False`): a watermark must not pass what nobody has looked at."""
    accepted: AcceptedVersion | None = None
    num_by_class: Mapping[str, int] = {}
    """Of the labels whose shards tell; see `num_untold`."""
    num_by_labeler: Mapping[str, int] = {}
    num_untold: int = 0
    """Labels that are counted in `num_labels` alone: their shards do not say of which class and by whom (yet)."""
    num_resent: int = Field(0, ge=0)
    """Labels in shards whose content was sent before, under another key; not in `num_labels`."""
    num_left: int = Field(0, ge=0)
    """Shards that wait and were not looked at yet: the last ones of a flood. The next look goes on with them."""
    num_quarantined: int = 0
    """Shards in quarantine, of the versions since the newest accepted one and 15 minutes before."""
    refusal: str = ""
    """Why `validate` refused the newest judged version, with its name; "" when it accepted it."""
    left_out: frozenset[Place] = frozenset()
    """(key, labeler): labels in these shards that are in quarantine while the rest of the shard waits."""
    only: Mapping[str, frozenset[str]] = {}
    """Of these shards all but the labels of these labelers is accepted already."""
    released: frozenset[Place] = frozenset()
    """Labels that a person released from quarantine: they are not judged. The labeler "" stands for the whole shard."""
    reopened: frozenset[str] = frozenset()
    """Keys of the shards among these that were in quarantine and come back by an order."""
    orders: int = 0
    """The number of the last order that this look knows of."""
    from_future: tuple[str, ...] = ()
    """Keys that claim a time over 15 minutes after their landing, or a day that is not that of their ULID. Put them
    again under a key of the time of the PUT."""

    def is_wanted(self, key: str, labeler: str) -> bool:
        """Whether the labels of this labeler in this shard wait: they are not in quarantine, nor accepted already."""
        return (key, labeler) not in self.left_out and (key not in self.only or labeler in self.only[key])

    def digest_through(self, shard_key: str) -> str:
        """Names the set of these shards up to and with `shard_key`."""
        return digest_of([key for key in self.shard_keys if key <= shard_key])
