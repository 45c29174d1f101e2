"""An Asterisk for tests: what the recorded traces say, said again by a server that answers as the live one did."""
