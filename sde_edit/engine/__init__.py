"""Makes the missing images of runs: plan, check, edit or import, store."""
