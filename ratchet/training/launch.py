"""torchrun with a rendezvous of ours: `python -m ratchet.training.launch --rdzv-endpoint=… -m MODULE`."""

import sys

from torch.distributed import run
from torch.distributed.elastic.rendezvous import rendezvous_handler_registry

from ratchet.training.meeting import RENDEZVOUS, rendezvous_of


def main() -> None:
    rendezvous_handler_registry.register(RENDEZVOUS, rendezvous_of)
    run.main([f"--rdzv-backend={RENDEZVOUS}", *sys.argv[1:]])


if __name__ == "__main__":
    main()
