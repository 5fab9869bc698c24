"""The parts of the study of low-rank experts: its stage, its report and its page."""
