"""How wide the searches are that cost seconds: in `make test` a third of the examples, all of them in `make fuzz`."""

import os

_IS_WIDE = "FUZZ_SECONDS" in os.environ


def examples(all_of_them: int) -> int:
    return all_of_them if _IS_WIDE else all_of_them // 3
