"""The commands of `sde-edit`, one module each, and the contact sheets of tables."""
