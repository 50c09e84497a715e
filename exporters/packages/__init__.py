"""NSD's files in, one Sensorium-style package a subject out, and companions of other sessions."""
