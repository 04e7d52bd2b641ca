"""What is kept on disk, addressed by content: runs, digests, features."""
