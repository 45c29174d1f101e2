"""What `cardline demo` plays: peers of our own that do what a real PBX and a real mail server would do."""
