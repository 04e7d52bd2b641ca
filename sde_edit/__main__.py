"""`python -m sde_edit` is `sde-edit`."""

from __future__ import annotations

from sde_edit.cli import main

main()
