"""Ray at the edge: the only room, with serve and jobs, that imports it."""

import os

# Read when ray is first imported. A cluster of our own then listens on the loopback interface alone, which ray.init has
# no argument for; where RAY_ADDRESS names a cluster, nothing is changed.
if "RAY_ADDRESS" not in os.environ:
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
