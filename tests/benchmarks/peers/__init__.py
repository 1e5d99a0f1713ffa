"""Parts of compare_peers.py: processes that are timed, the peers' settings, one module per section."""
