"""torchrun with one more rendezvous: `python -m ratchet.training.launch --rdzv-backend=c10d-loopback … -m MODULE`."""

from torch.distributed import run
from torch.distributed.elastic.rendezvous import rendezvous_handler_registry

from ratchet.training.meeting import RENDEZVOUS, rendezvous_of


def main() -> None:
    rendezvous_handler_registry.register(RENDEZVOUS, rendezvous_of)
    run.main()


if __name__ == "__main__":
    main()
