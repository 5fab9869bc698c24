from orchestrator.api import Run as Run
from orchestrator.api import load_run as load_run
from orchestrator.api import plan as plan
from orchestrator.api import run as run

__version__: str
