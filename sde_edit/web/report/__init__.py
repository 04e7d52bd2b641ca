"""The report: static pages of what a results folder holds, to browse without a server."""
