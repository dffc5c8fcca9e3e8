"""What was measured, for people and for the next stage: scores, pictures, pages."""
