"""Where the jobs of a sweep are done; a launcher is one file."""
