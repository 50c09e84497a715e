"""The flat-map data set: brain activity as pictures, with photographs, captions and objects."""
