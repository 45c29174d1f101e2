"""Virtual PBXs: what they tell over HTTP of each call, what they are asked for, and the recordings they keep for us."""
