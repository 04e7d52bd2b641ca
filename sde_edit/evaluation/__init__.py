"""From images to scores, and what metrics share."""
