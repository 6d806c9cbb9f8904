"""What is measured beside us: written as plainly as people would, tuned as their manuals say."""
