"""Pictures of the flattened cortex: what every unit holds, regions with their names, colour bar and title."""
