"""`python -m sde_edit` is `sde-edit`."""

from sde_edit.cli import main

main()
