"""From stored scores to tables, figures and contact sheets; loads no torch."""
