"""Stage 1, in the order in which a call meets it: intake → record → postprocess → store."""
