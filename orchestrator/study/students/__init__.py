"""Stages that any study may use: students of several languages, the experts' mean, and the losses of one model."""
