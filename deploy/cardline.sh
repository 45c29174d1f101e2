#!/bin/sh
# The command `cardline` of the documentation, on a server: as the service's user, with the service's settings.
# Installation: deploy/README.md
exec runuser --user cardline -- /opt/cardline/.venv/bin/cardline --config /etc/cardline/cardline.toml "$@"
