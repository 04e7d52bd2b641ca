"""What data sets are made of: image files, masks, rendered scenes."""
