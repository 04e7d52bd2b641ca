"""Image files, masks and rendered scenes: what data sets are made of."""
