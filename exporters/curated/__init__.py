"""The curated MNI set: betas in MNI space at 3 mm, labels of what was seen, equally many trials a subject."""
