"""Pages in the browser: the local server and what its pages share."""
