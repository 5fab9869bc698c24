"""Studies: what a recipe trains beside its main line, a file each.

`paper.py` asks the paper's questions, and `low_rank.py` asks one of its own: read that one first to write another.
`students/` holds what any study may train and measure. A sub-package with an underscore holds the parts of one study.
Nothing of the product imports this room: a recipe names a study, and the study gives its steps. So a study may lie
anywhere, with its stages and its pages beside it.
"""

from orchestrator.config.names import Label
from orchestrator.study._base import Seeds, Study

__all__ = ["Label", "Seeds", "Study"]
PLUGIN = Study
"""What a plug-in of this room is."""
