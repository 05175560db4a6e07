"""A bundle behind HTTP. `entirespace serve` starts it; there is no torch in its processes."""
