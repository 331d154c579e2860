"""For whoever writes an expression: completion, warnings, fixes, explanations."""
