"""`python -m ratchet` is the command `ratchet`."""

from ratchet.cli import main

main()
