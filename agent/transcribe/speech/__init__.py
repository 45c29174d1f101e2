"""What of a call is speech, and how it is cut for a model."""
