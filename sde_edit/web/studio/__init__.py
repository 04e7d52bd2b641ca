"""`sde-edit studio`: edit one's own photos in the browser."""
