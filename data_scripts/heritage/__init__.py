"""The renderer of buildings, and the gaze that is simulated on them."""
