"""Draw answers for people: labels burnt into a video, and a picture of a timeline."""
