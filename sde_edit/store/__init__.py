"""Storage on disk: runs, sweeps, digests, cached features and preparations."""
