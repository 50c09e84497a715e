"""What several commands share, and parts of large ones: no command lies here."""
