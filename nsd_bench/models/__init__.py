"""Models to beat, each one command; training of torch modules; features of images from any network."""
