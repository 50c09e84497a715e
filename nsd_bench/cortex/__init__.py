"""The flattened cortex: where vertices lie on it, pictures of what they hold, and pages of them."""
