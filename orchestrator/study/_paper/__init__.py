"""The parts of the paper's study: its sweeps, steps, report and pages."""
