"""Which challengers a task's test rows have judged: `s3://ratchet/judgements/<task>/<digest>.json`, written once."""

import json
from contextlib import suppress
from typing import ClassVar

from ratchet.core.digest import digest_of
from ratchet.core.errors import Conflict
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store


class Judgements(Store):
    """One object a judgement, named by what was judged: a step that is repeated counts once."""

    layout: ClassVar[Layout] = "judgements"

    def note(self, task: str, *, version: str, challenger: str, champion: str) -> int:
        """Note a judgement, before anybody knows how it ends; gives how many others the task has had.

        One listing: a request for a thousand judgements, which are three years of daily ones.
        """
        judged = {"version": version, "challenger": challenger, "champion": champion}
        uri = self._uri(task, f"{digest_of(judged)[:32]}.json")
        with suppress(Conflict):  # the attempt before this one noted it
            self.objects.put_if_absent(uri, (json.dumps(judged) + "\n").encode())
        return sum(each != uri for each in self.objects.list_uris(self._uri(task, "")))
