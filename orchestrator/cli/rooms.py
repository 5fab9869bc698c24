"""Groups of commands: `mome GROUP COMMAND`."""

from orchestrator.cli import clusters, data, expert, keys, mixture, serving

ROOMS = {
    "cluster": clusters.app,
    "data": data.app,
    "expert": expert.app,
    "keys": keys.app,
    "mixture": mixture.app,
    "serve": serving.app,
}
"""By their names."""
