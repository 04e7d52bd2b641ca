"""The parts of editing tasks: batches, found masks, LoRA fits, drag moves, optimisations."""
