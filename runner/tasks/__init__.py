"""What a run can be asked to do; one file each, and each reads like a recipe."""
