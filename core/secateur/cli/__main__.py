"""`python -m secateur.cli` does what the command `secateur` does."""

from secateur.cli import main

raise SystemExit(main())
