"""The verbs of the command line as functions of Python: what `import sde_edit` offers."""
