"""Makes the missing images of runs: plans, checks, edits or imports, and stores them."""
