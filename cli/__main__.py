"""`python -m cli` is the command `ratchet`."""

from cli.main import main

main()
