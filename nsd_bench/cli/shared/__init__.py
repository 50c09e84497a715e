"""What several commands share, and the parts of large ones."""
