"""Speech engines behind `agent.transcribe.engine`."""
